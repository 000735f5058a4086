"""Figures for people: how well a text was predicted, with the n-gram baseline beside it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from unrolled.cli.common import table

COUNTING = "perplexity over predicted symbols, <eos> counted, <bos> not"


def figures_table(figures: Mapping[str, Any], ngram: Mapping[str, Any] | None) -> str:
    """What an `Evaluation.as_dict()` says, one figure a line, beside that of the n-gram."""
    nats = figures["nats_per_symbol"]
    beside = ngram or {}
    bits = None
    if "nats_per_symbol" in beside:
        bits = beside["nats_per_symbol"] * figures["symbols"] / math.log(2) / max(1, figures["characters"])
    rows = [
        ["perplexity", number(figures["perplexity"]), number(beside.get("perplexity"))],
        ["nats a symbol", number(nats), number(beside.get("nats_per_symbol"))],
        ["bits a character", number(figures["bits_per_character"]), number(bits)],
    ]
    if "accuracy" in figures and "sequences" not in figures:
        rows.append(["next symbol right", f"{figures['accuracy']:.1%}", "-"])
    if figures.get("unknown_share"):
        rows.append(["unknown symbols", f"{figures['unknown_share']:.1%}", "-"])
    name = f"{beside.get('order', 'n')}-gram"
    part = f"\n{name} of the training text's first {beside['counted']:,} symbols" if "counted" in beside else ""
    return table(rows, header=["", "this run", name], right="-rr") + part


def budget_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What became of a budget in minutes, in one line; and where a part was too large, that a sample was measured."""
    from unrolled.training.progress import duration

    validations = metrics["validations"]
    times = f"{validations} validation{'s' * (validations != 1)} in {duration(metrics['seconds_validating'])}"
    lines = [
        f"{metrics['minutes']:g} min planned; {metrics['step']:,} steps in {duration(metrics['seconds'])}, {times}"
    ]
    if any("sampled" in metrics.get(part, {}) for part in ("validation", "test")):
        lines.append("measured on samples, for want of time; `unrolled evaluate` measures everything")
    return lines


def shortfall(metrics: Mapping[str, Any]) -> str:
    """A warning where a model is worse than a baseline beside it, and what to do; empty where it is not."""
    from unrolled.tasks.comparison import comparisons

    for part in ("test", "validation"):
        worse = [one for one in comparisons(metrics.get(part, {})) if one.worse]
        if worse:
            against = "; ".join(
                f"{one.baseline} ({one.figure.replace('_', ' ')} {one.theirs:.4g} against {one.ours:.4g})"
                for one in worse
            )
            longer = f"training.minutes={3 * metrics['minutes']:g}" if "minutes" in metrics else ""
            longer = longer or f"training.steps={3 * metrics['step']}"
            return f"warning: on the {part} part this model is worse than {against}; train longer: --set {longer}"
    return ""


def part_text(task: str, figures: Mapping[str, Any]) -> str:
    """The figures of a part as people read them, whatever the task."""
    if task == "generate":
        return generation_text(figures)
    if task == "language-model":
        return f"{figures_table(figures, figures.get('ngram'))}\n({COUNTING})"
    return {"tag": tag_text, "classify": class_text, "translate": translation_text}[task](figures)


def tag_text(figures: Mapping[str, Any]) -> str:
    """What a tagger's figures say, with the plain baseline beside them."""
    spans = figures.get("spans")
    if spans:
        rows = [["span F1", f"{spans['f1']:.2%}"], ["precision", f"{spans['precision']:.2%}"]]
        rows += [["recall", f"{spans['recall']:.2%}"]]
    else:
        rows = [["accuracy", f"{figures['accuracy']:.2%}"]]
    rows += interval_row(figures, "{:.2%}".format)
    rows += [[name, f"{next(iter(own.values())):.2%}"] for name, own in figures.get("baselines", {}).items()]
    parts = {"seen_words": "words that training had", "unseen_words": "words that it had not"}
    rows += [[text, f"{figures[name]:.2%}"] for name, text in parts.items() if name in figures]
    parts = {"seen_spans": "F1 of spans that training had", "unseen_spans": "F1 of spans that it had not"}
    rows += [[text, _f1(figures[name])] for name, text in parts.items() if name in figures]
    if spans:
        rows.append(["accuracy of labels", f"{figures['accuracy']:.2%}"])
    rows.append(["nats a timestep", number(figures["nats_per_timestep"])])
    return f"{figures['sequences']:,} sequences, {figures['timesteps']:,} timesteps\n{table(rows, right='-r')}"


def _f1(spans: Mapping[str, Any]) -> str:
    return f"{spans['f1']:.2%}" if spans["gold"] else "there are none"


def generation_text(figures: Mapping[str, Any]) -> str:
    """What a generator's figures say: of the sequences, and of the classes that Bayes' rule finds."""
    text = f"{figures['sequences']:,} sequences\n{figures_table(figures, figures.get('ngram'))}\n({COUNTING})"
    if "accuracy" not in figures:
        return text
    rows = [["the class, by Bayes' rule", f"{figures['accuracy']:.2%}"], *interval_row(figures, "{:.2%}".format)]
    rows += [[name, f"{own['accuracy']:.2%}"] for name, own in figures.get("baselines", {}).items()]
    return f"{text}\n\n{table(rows, right='-r')}"


def translation_text(figures: Mapping[str, Any]) -> str:
    """What a translator's figures say, with the translation memory beside them."""
    rows = [["perplexity", number(figures["perplexity"])]]
    if "bleu" in figures:
        rows = [
            ["BLEU", f"{figures['bleu']:.2f}"],
            *interval_row(figures, "{:.2f}".format),
            ["chrF", f"{figures['chrf']:.2f}"],
        ]
        rows += [["answers that equal a reference", f"{figures['exact']:.2%}"]]
        rows += [[f"{name}: BLEU", f"{own['bleu']:.2f}"] for name, own in figures.get("baselines", {}).items()]
        rows += [["perplexity of the references", number(figures["perplexity"])]]
    sizes = [f"{figures['pairs']:,} pairs"]
    if "bleu" in figures:
        sizes += [f"{figures['sources']:,} distinct sources", figures["search"]]
    text = f"{', '.join(sizes)}\n{table(rows, right='-r')}\n({COUNTING})"
    if "bleu_signature" in figures:
        text += f"\nsacrebleu: BLEU|{figures['bleu_signature']}\nsacrebleu: chrF2|{figures['chrf_signature']}"
    return f"{text}\n{figures['remark']}" if "remark" in figures else text


def interval_row(figures: Mapping[str, Any], written: Callable[[float], str]) -> list[list[str]]:
    """The row of a table for the interval, none where there is no interval."""
    if not figures.get("interval"):
        return []
    return [["95 % interval", " to ".join(map(written, figures["interval"]))]]


def by_length(figures: Mapping[str, Any]) -> str:
    """BLEU, chrF and exact answers of short and long sources."""
    rows = [
        [own["words"], f"{own['sources']:,}", f"{own['bleu']:.1f}", f"{own['chrf']:.1f}", f"{own['exact']:.1%}"]
        for own in figures["by_length"]
    ]
    return table(rows, header=["words of the source", "sources", "BLEU", "chrF", "exact"], right="-rrrr")


def class_text(figures: Mapping[str, Any]) -> str:
    """What a classifier's or a predictor's figures say, with the plain baselines beside them."""
    if "accuracy" not in figures:
        rows = [
            ["mean absolute error", number(figures["mean_absolute_error"])],
            *interval_row(figures, number),
            ["root mean square error", number(figures["root_mean_square_error"])],
        ]
        rows += [[f"always the {name}", number(own["mean_absolute_error"])] for name, own in _beside(figures, "mean")]
        return table(rows, right="-r")
    rows = [
        ["accuracy", f"{figures['accuracy']:.2%}"],
        *interval_row(figures, "{:.2%}".format),
        *[[name, f"{own['accuracy']:.2%}"] for name, own in figures.get("baselines", {}).items()],
        ["F1, mean of the classes", f"{figures['macro_f1']:.2%}"],
    ]
    if "mean_absolute_error" in figures:
        rows.append(["mean error in stars", number(figures["mean_absolute_error"])])
    rows += [
        ["nats an example", number(figures["nats_per_example"])],
        ["calibration error", f"{figures['calibration_error']:.2%}"],
    ]
    return f"{figures['examples']:,} examples\n{table(rows, right='-r')}"


def _beside(figures: Mapping[str, Any], *names: str) -> list[tuple[str, Any]]:
    return [(name, figures[name]) for name in names if name in figures]


def by_class(figures: Mapping[str, Any]) -> str:
    """Precision, recall and F1 of every class, or of every type of span."""
    found = figures.get("classes") or [
        {"class": name, **own, "count": own["gold"]} for name, own in figures["spans"]["types"].items()
    ]
    rows = [
        [row["class"], *(f"{row[key]:.1%}" for key in ("precision", "recall", "f1")), f"{row['count']:,}"]
        for row in found
    ]
    return table(rows, header=["class", "precision", "recall", "F1", "true"], right="-rrrr")


def number(value: float | None) -> str:
    """A figure with the digits that matter; "-" where there is none.

    >>> number(4.8512), number(182.31), number(None)
    ('4.851', '182.3', '-')
    """
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value) or value >= 1e6:
        return f"{value:.3g}"
    return f"{value:.3f}" if value < 100 else f"{value:,.1f}"


def size(count: float) -> str:
    """A number of bytes as people read it.

    >>> size(950), size(1_530_000)
    ('950 B', '1.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} B" if unit == "B" else f"{count:,.1f} {unit}"
