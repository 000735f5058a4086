"""The files of a run: whole at any moment, exact when read back, every flaw named."""

import json
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrolled.errors import UserError
from unrolled.training import run_folder
from unrolled.training.run_folder import (
    append_log,
    atomic_write_bytes,
    atomic_write_text,
    create_run_folder,
    load_state,
    load_weights,
    read_json,
    read_log,
    save_state,
    save_weights,
    truncate_log,
    version_differences,
    versions,
    write_json,
    write_versions,
)

# --- creating ---------------------------------------------------------------------------------------------------------


def note(folder: Path) -> None:
    (folder / "note").write_text("here", encoding="utf-8")


def test_a_new_run_never_takes_the_place_of_another(tmp_path: Path) -> None:
    folders = [create_run_folder(tmp_path / "runs", "names", fill=note) for _ in range(3)]
    assert [folder.name for folder in folders] == ["names", "names-2", "names-3"]
    assert all((folder / "note").read_text(encoding="utf-8") == "here" for folder in folders)


def test_an_explicit_folder_must_be_new(tmp_path: Path) -> None:
    explicit = tmp_path / "deep" / "mine"
    assert create_run_folder(tmp_path, "ignored", explicit=explicit) == explicit
    with pytest.raises(UserError, match=r"mine exists already; give --run another folder, or go on with it: --resume"):
        create_run_folder(tmp_path, "ignored", explicit=explicit)


def test_nothing_is_left_when_filling_fails(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        note(folder)
        raise UserError("no such data")

    with pytest.raises(UserError, match="no such data"):
        create_run_folder(tmp_path, "names", fill=fail)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_has_its_name_only_when_it_is_full(tmp_path: Path) -> None:
    seen = []
    create_run_folder(tmp_path, "names", fill=lambda folder: seen.append((folder.name, (tmp_path / "names").exists())))
    assert seen[0][0].endswith(".partial")
    assert not seen[0][1]


def test_a_name_taken_meanwhile_is_passed_over(tmp_path: Path) -> None:
    def overtaken(folder: Path) -> None:
        note(folder)
        create_run_folder(tmp_path, "names", fill=note)

    assert create_run_folder(tmp_path, "names", fill=overtaken).name == "names-2"


def test_an_explicit_folder_taken_meanwhile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="created by someone else just now"):
        create_run_folder(tmp_path, "x", explicit=tmp_path / "a", fill=lambda _: (tmp_path / "a").mkdir())
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a:b"])
def test_a_name_is_one_plain_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot name a run"):
        create_run_folder(tmp_path, name)


def test_a_place_that_is_a_file_is_refused(tmp_path: Path) -> None:
    note(tmp_path)
    with pytest.raises(UserError, match=r"no run can be created in .*note \(File exists\); check free space"):
        create_run_folder(tmp_path / "note", "names")


# --- training state ---------------------------------------------------------------------------------------------------

numbers = st.floats(allow_nan=False) | st.integers() | st.none() | st.booleans() | st.text(max_size=5)
states = st.dictionaries(st.text(max_size=5), st.recursive(numbers, lambda inner: st.lists(inner, max_size=3)))


@settings(max_examples=40)
@given(state=states)
def test_a_state_comes_back_exactly(tmp_path_factory: pytest.TempPathFactory, state: dict[str, object]) -> None:
    folder = tmp_path_factory.getbasetemp()
    save_state(folder, {}, state)
    assert load_state(folder) == ({}, state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_tensors_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.randn(3, 4).mul(9).to(dtype)
    tensors = {"plain": tensor, "turned": tensor.t(), "part": tensor[1], "empty": tensor[:0], "other empty": tensor[:0]}
    save_state(tmp_path, tensors, {})
    loaded, _ = load_state(tmp_path)
    assert loaded.keys() == tensors.keys()
    for name, original in tensors.items():
        assert loaded[name].dtype == original.dtype
        assert torch.equal(loaded[name], original)


def test_a_random_state_goes_on_where_it_was(tmp_path: Path) -> None:
    save_state(tmp_path, {"random": torch.get_rng_state()}, {})
    expected = torch.rand(5)
    torch.set_rng_state(load_state(tmp_path)[0]["random"])
    assert torch.equal(torch.rand(5), expected)


def test_the_mirror_is_plain_json(tmp_path: Path) -> None:
    save_state(tmp_path, {}, {"best": math.inf, "losses": [math.nan, 1.5], "step": 3})
    assert read_json(tmp_path / "state.json") == {"best": None, "losses": [None, 1.5], "step": 3}
    assert load_state(tmp_path)[1]["best"] == math.inf


def test_the_mirror_is_never_read(tmp_path: Path) -> None:
    save_state(tmp_path, {}, {"step": 3})
    (tmp_path / "state.json").write_text("older", encoding="utf-8")
    assert load_state(tmp_path)[1] == {"step": 3}


KILLED_WHILE_SAVING = """
    import os, signal, sys
    from pathlib import Path
    import torch
    from unrolled.training.run_folder import load_state, load_weights, save_state, save_weights

    torch.set_num_threads(1)
    folder, left = Path(sys.argv[1]), -1

    def save(count):
        tensors = {"many": torch.full((50_000,), count), "few": torch.full((3,), count)}
        save_state(folder, tensors, {"step": count, "padding": "x" * (count % 5000)})
        save_weights(folder, tensors, {"step": str(count)})

    def before_each_operation(event, arguments):
        global left
        if left >= 0 and event.startswith(("open", "os.")) and event != "os.kill":
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(before_each_operation)
    save(0)
    save(0)
    before, moved, stayed, status = 0, 0, 0, -signal.SIGKILL
    for operation in range(1, 200):
        child = os.fork()
        if child == 0:
            left = operation
            save(before + 1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        tensors, state = load_state(folder)
        assert all((tensor == state["step"]).all() for tensor in tensors.values()), "torn state"
        weights, metadata = load_weights(folder)
        assert all((tensor == int(metadata["step"])).all() for tensor in weights.values()), "torn weights"
        assert state["step"] in (before, before + 1), "neither the old nor the new"
        if status == 0:
            break
        assert status == -signal.SIGKILL, status
        moved, stayed = moved + (state["step"] > before), stayed + (state["step"] == before)
        before = state["step"]
    assert status == 0, "no save was ever through"
    print(moved, stayed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_a_kill_before_any_operation_leaves_a_consistent_state(tmp_path: Path) -> None:
    script = textwrap.dedent(KILLED_WHILE_SAVING)
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    moved, stayed = map(int, done.stdout.split())
    assert moved >= 1, "no kill came behind the state"
    assert stayed >= 1, "no kill came before it"
    save_state(tmp_path, {}, {})
    save_weights(tmp_path, {})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"state.safetensors", "state.json", "model.safetensors"}, "a later save clears up"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_weights_can_be_read_by_whoever_may_read_the_rest(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_weights(tmp_path, {"a": torch.zeros(1)})
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640


# --- weights ----------------------------------------------------------------------------------------------------------


def test_tied_weights_come_back_under_both_names(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(2, 3))
    save_weights(tmp_path, {"embedding": weight, "output": weight, "row": weight[0]}, {"step": "4"})
    tensors, metadata = load_weights(tmp_path, ["embedding", "output", "row"])
    assert metadata == {"step": "4"}
    for name, expected in {"embedding": weight, "output": weight, "row": weight[0]}.items():
        assert torch.equal(tensors[name], expected.detach())


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    save_weights(tmp_path, {name: torch.zeros(1) for name in "abcde"})
    with pytest.raises(UserError, match=r"model\.safetensors does not fit recipe\.toml beside it: it lacks z and has"):
        load_weights(tmp_path, ["a", "z"])
    with pytest.raises(UserError, match="has b, c, d and 1 more that the model has not; take both from one run"):
        load_weights(tmp_path, ["a"])


# --- flaws ------------------------------------------------------------------------------------------------------------


def saved(folder: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    save_state(folder, tensors or {"a": torch.zeros(100)}, {"step": 1})
    return folder / "state.safetensors"


def state_message(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_state(folder)
    text = str(caught.value)
    assert "state.safetensors" in text
    assert "start a new one from its weights: --init" in text
    return text


def test_a_missing_state_is_named(tmp_path: Path) -> None:
    assert "is missing; check that the path is a run folder, or the run cannot go on" in state_message(tmp_path)
    assert "there is no folder" in state_message(tmp_path / "nowhere")


@pytest.mark.parametrize("kept", [0, 4, 20, 200, -1])
def test_a_state_cut_short_is_named(tmp_path: Path, kept: int) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    assert "is cut short or no safetensors file" in state_message(tmp_path)


def test_another_file_under_the_name_is_named(tmp_path: Path) -> None:
    saved(tmp_path).write_bytes(b"something quite different, and long enough")
    assert "is cut short or no safetensors file" in state_message(tmp_path)


def test_a_folder_under_the_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").mkdir()
    assert "cannot be read" in state_message(tmp_path) or "no safetensors file" in state_message(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, "holds tensors but no training state (no metadata 'state')"),
        ({"state": "{"}, "its metadata 'state' is not JSON"),
        ({"state": "[]"}, "its metadata 'state' is no JSON object"),
    ],
)
def test_a_file_without_a_state_is_named(tmp_path: Path, metadata: dict[str, str], expected: str) -> None:
    save_weights(tmp_path, {"a": torch.zeros(1)}, metadata)
    (tmp_path / "model.safetensors").rename(tmp_path / "state.safetensors")
    assert expected in state_message(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[1]", "is JSON but no object"),
    ],
)
def test_flawed_json_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"metrics\.json {expected}.*copy the run folder again"):
        read_json(tmp_path / "metrics.json")


def test_missing_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.json is missing; check that the path is a run folder"):
        read_json(tmp_path / "metrics.json")
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path / "metrics.json")


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"a\.txt cannot be written \(No space left on device\); check free space"):
        atomic_write_bytes(path, b"new")
    with pytest.raises(UserError, match="No space left on device"):
        save_weights(tmp_path, {"a": torch.zeros(1)})
    assert path.read_text(encoding="utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        save_weights(tmp_path / "gone", {"a": torch.zeros(1)})
    with pytest.raises(UserError, match="cannot be written"):
        append_log(tmp_path / "gone", {"step": 1})


def test_json_takes_any_text(tmp_path: Path) -> None:
    value = {"path": os.fsdecode(b"caf\xe9.txt"), "sign": "Γ"}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert "Γ" in (tmp_path / "a.json").read_text(encoding="utf-8")


# --- log --------------------------------------------------------------------------------------------------------------


def test_a_log_reads_back_with_null_for_what_is_no_number(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []
    append_log(tmp_path, {"step": 1, "kind": "train", "loss": 2.5})
    append_log(tmp_path, {"step": 2, "kind": "valid", "loss": math.nan})
    assert read_log(tmp_path) == [
        {"step": 1, "kind": "train", "loss": 2.5},
        {"step": 2, "kind": "valid", "loss": None},
    ]


@given(steps=st.lists(st.integers(0, 20)), at=st.integers(0, 20), cut=st.integers(0, 14))
def test_a_truncated_log_is_what_was_logged_up_to_then(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], at: int, cut: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    lines = [json.dumps({"step": step}) + "\n" for step in sorted(steps)]
    torn = '{"step": 0, "k'[:cut]  # what a kill in the middle of a write leaves
    (folder / "log.jsonl").write_text("".join(lines) + torn, encoding="utf-8")
    truncate_log(folder, at)
    expected = "".join(line for line in lines if json.loads(line)["step"] <= at)
    assert (folder / "log.jsonl").read_text(encoding="utf-8") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [("{", "not JSON"), ("[]", 'no JSON object with a whole "step"'), ('{"step": "1"}', "no JSON object with a whole")],
)
def test_a_flawed_line_is_named(tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "log.jsonl").write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n', encoding="utf-8")
    with pytest.raises(UserError, match=rf"log\.jsonl:2: {expected}.*take the line out"):
        read_log(tmp_path)


# --- versions ---------------------------------------------------------------------------------------------------------


def test_versions_name_no_place_and_no_machine(tmp_path: Path) -> None:
    import platform

    write_versions(tmp_path)
    text = (tmp_path / "versions.json").read_text(encoding="utf-8")
    assert set(json.loads(text)) == {"unrolled", "torch", "numpy", "python", "platform", "threads"}
    assert platform.node() not in text
    assert "/" not in text


def test_differences_to_the_run_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_versions(tmp_path)
    assert version_differences(tmp_path) == []
    now = {**versions(), "threads": 99}
    monkeypatch.setattr(run_folder, "versions", lambda: now)
    assert version_differences(tmp_path) == [f"threads: {torch.get_num_threads()} then, 99 now"]
