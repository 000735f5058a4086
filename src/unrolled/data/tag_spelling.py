"""How files spell the tags of spans: "B-person", "B_person", "person-B", "b-person", bare "B"; BIOES as BILOU or BMES.

Inside the package a tag is "O" or PREFIX-TYPE with the prefixes B, I, E, S. A `Spelling` leads from a file's labels to
these and back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from unrolled.data.tag_schemes import OUTSIDE, faults, scheme_of
from unrolled.errors import UserError

FAMILIES = {"BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES", "BMEW": "BMEW"}
"""What the schemes that mark the end of a span write for begin, inside, end and single."""
FORMS = tuple(
    form
    for begin in "Bb"
    for form in (*(part for mark in "-_:/|" for part in (f"{begin}{mark}TYPE", f"TYPE{mark}{begin}")), begin)
)
"""The forms of a tag, the usual one first; a small letter means that prefixes are small."""
UNTYPED = "span"
"""The type of spans whose tags name none."""
OUTSIDES = ("O", "o", "0", "_", "-", "OUT", "NONE", "OTHER")
"""What files write for "in no span"."""
LETTERS = "BIESLUMW"
MOST_ODD = 0.5
"""Up to this share of labels that do not fit, they are mistakes among spans rather than plain labels."""


@dataclass(frozen=True)
class Spelling:
    """How one file writes tags.

    >>> Spelling("BILOU", "TYPE_B").canonical("person_L"), Spelling("BILOU", "TYPE_B").spelled("S-person")
    ('E-person', 'person_U')
    """

    family: str = "BIOES"
    form: str = "B-TYPE"
    outside: str = OUTSIDE

    @property
    def lower(self) -> bool:
        """Whether prefixes are small letters."""
        return "b" in self.form

    def parts(self, label: str) -> tuple[str, str] | None:
        """The prefix as it is written, as a capital letter, and the type; None for what is not spelled so."""
        begin = "b" if self.lower else "B"
        if self.form == begin:
            prefix, type = label, UNTYPED
        else:
            mark = self.form.replace("TYPE", "").replace(begin, "")
            first, _, second = label.partition(mark) if self.form[0] == begin else label.rpartition(mark)[::-1]
            prefix, type = first, second
        known = LETTERS.lower() if self.lower else LETTERS
        return (prefix.upper(), type) if len(prefix) == 1 and prefix in known and type else None

    def canonical(self, label: str) -> str | None:
        """A label as "O" or PREFIX-TYPE; None for one that is no tag in this spelling."""
        if label == self.outside:
            return OUTSIDE
        parts = self.parts(label)
        place = FAMILIES[self.family].find(parts[0]) if parts else -1
        return None if parts is None or place < 0 else f"{'BIES'[place]}-{parts[1]}"

    def spelled(self, tag: str) -> str:
        """A tag as the file writes it."""
        if tag == OUTSIDE:
            return self.outside
        prefix, _, type = tag.partition("-")
        letter = FAMILIES[self.family]["BIES".index(prefix)]
        begin, letter = ("b", letter.lower()) if self.lower else ("B", letter)
        if self.form == begin:
            return letter
        mark = self.form.replace("TYPE", "").replace(begin, "")
        return f"{letter}{mark}{type}" if self.form[0] == begin else f"{type}{mark}{letter}"

    @property
    def shown(self) -> str:
        """As people read it: "BILOU, as TYPE-B, outside 0"; empty for the usual spelling."""
        parts = [self.family] * (self.family != "BIOES")
        parts += [f"as {self.form}"] * (self.form != FORMS[0])
        parts += [f"outside {self.outside}"] * (self.outside != OUTSIDE)
        return ", ".join(parts)

    def written(self) -> str:
        """As it is kept in a run folder; empty for the usual spelling."""
        return "" if self == Spelling() else f"{self.family} {self.form} {self.outside}"

    @classmethod
    def read(cls, written: str) -> Spelling:
        """What `written` gave.

        Raises:
            ValueError: it is none.
        """
        if not written:
            return cls()
        family, form, outside = written.split(" ", 2)
        if family not in FAMILIES or form not in FORMS or not outside:
            raise ValueError(f"{written!r} is not a spelling of tags")
        return cls(family, form, outside)


def spelling_of(sequences: Iterable[Sequence[str]]) -> tuple[Spelling, frozenset[str]] | None:
    """How the tags of some sequences are spelled, and the labels that are not spelled so (mistakes, to be named).

    None where labels are not spans: parts of speech, for one. Labels are taken for spans where every one but that for
    "in no span" is a tag, or where some type comes with two prefixes and most other labels are tags.
    """
    counts = Counter(label for sequence in sequences for label in sequence)
    for form in FORMS:
        found = _fitting(counts, form, sequences)
        if found is not None:
            return found
    return None


def _fitting(
    counts: Counter[str], form: str, sequences: Iterable[Sequence[str]]
) -> tuple[Spelling, frozenset[str]] | None:
    cut = {label: parts for label in counts if (parts := Spelling(form=form).parts(label)) and label not in OUTSIDES}
    if not cut:
        return None
    others = {label: count for label, count in counts.items() if label not in cut}
    outside = next((one for one in OUTSIDES if one in others), "")
    prefixes: dict[str, set[str]] = {}
    for prefix, type in cut.values():
        prefixes.setdefault(type, set()).add(prefix)
    letters = set().union(*prefixes.values())
    odd_share = sum(n for label, n in others.items() if label != outside) / sum(n for n in counts.values())
    odd_share *= counts.total() / max(1, counts.total() - counts[outside])
    usual, strong = form == FORMS[0], any(len(own) > 1 for own in prefixes.values())
    if form in "Bb":
        whole = bool(outside) or len(letters) == 4
        fits = "B" in letters and bool(letters & set("IM")) and whole and odd_share <= 0.1
    elif usual and not outside and not odd_share:
        fits = letters <= set("BIES") or strong
    elif usual:
        fits = bool(outside) and odd_share <= MOST_ODD
    else:
        fits = bool(outside) and ("B" in letters or letters == {"I"}) and odd_share <= (0.1 if strong else 0)
    if not fits and usual and strong and not outside and len(others) == 1:
        return _with_outside(cut, next(iter(others)), form, sequences)
    if not fits:
        return None
    family = _family(cut, counts)
    odd = {label for label, (prefix, _) in cut.items() if prefix not in FAMILIES[family]}
    return Spelling(family, form, outside or OUTSIDE), frozenset(odd | (others.keys() - {outside}))


def _with_outside(
    cut: Collection[str], outside: str, form: str, sequences: Iterable[Sequence[str]]
) -> tuple[Spelling, frozenset[str]] | None:
    """Spans around one label of another name that must mean "in no span": only where no step breaks their scheme."""
    counts = Counter(label for sequence in sequences for label in sequence if label in cut)
    family = _family({label: parts for label in cut if (parts := Spelling(form=form).parts(label))}, counts)
    spelling = Spelling(family, form, outside)
    tags = [[spelling.canonical(label) or OUTSIDE for label in sequence] for sequence in sequences]
    scheme = scheme_of(tags)
    return (spelling, frozenset()) if scheme and not any(faults(one, scheme) for one in tags) else None


def _family(cut: dict[str, tuple[str, str]], counts: Counter[str]) -> str:
    """The family that most of the tags fit: by their prefixes, and, where it has letters of its own, by as many ends of
    spans as beginnings: one "L-person" in a file does not make it BILOU."""
    letters = Counter[str]()
    for label, (prefix, _) in cut.items():
        letters[prefix] += counts[label]

    def fit(name: str) -> int:
        begin, end = FAMILIES[name][0], FAMILIES[name][2]
        uneven = 0 if name == "BIOES" else abs(letters[begin] - letters[end])
        return sum(letters[letter] for letter in FAMILIES[name]) - uneven

    return max(FAMILIES, key=fit)


def check_not_ioe(tags: Iterable[Sequence[str]], name: str) -> None:
    """Refuse IOE1 and IOE2, which mark the last token of a span and not its first.

    Raises:
        UserError: they are written so.
    """
    prefixes = {tag[0] for sequence in tags for tag in sequence if tag != OUTSIDE}
    if prefixes == {"I", "E"}:
        raise UserError(
            f"{name}: the labels are spans in IOE (I- inside, E- at the end), which is not read; convert them to IOB2 "
            'or BIOES, or, if they are not spans, set data.scheme = "none"'
        )
