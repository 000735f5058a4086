"""Recipes: complete when written, checked as a whole when read, every mistake named with its place."""

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.settings import DataSettings
from unrolled.errors import UserError
from unrolled.models.settings import CELL_NAMES, ModelSettings
from unrolled.settings import limits_of
from unrolled.training.recipe import Recipe, load_recipe, recipe_from_mapping, recipe_text
from unrolled.training.settings import TrainingSettings

MINIMAL = 'task = "language-model"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def message(folder: Path, text: str, overrides: object = ()) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(written(folder, text), overrides)  # type: ignore[arg-type]
    return str(caught.value).replace(str(folder), "")


recipes = st.builds(
    Recipe,
    data=st.builds(DataSettings, path=st.text("aé \"'\\\n#=[]", max_size=8), lowercase=st.booleans()),
    model=st.builds(
        ModelSettings,
        cell=st.sampled_from(CELL_NAMES),
        dropout=st.floats(0, 1, exclude_max=True),
        forget_bias=st.none() | st.floats(-5, 5),
        cutoffs=st.lists(st.integers(1, 10**6), unique=True).map(lambda ids: tuple(sorted(ids))),
    ),
    training=st.builds(
        TrainingSettings,
        minutes=st.floats(0.001, 1e6),
        learning_rate=st.floats(1e-300, 1e3),
        seed=st.integers(0, 2**63 - 1),
    ),
)


@given(recipe=recipes)
def test_a_written_recipe_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = written(tmp_path_factory.getbasetemp(), recipe_text(recipe))
    assert load_recipe(path) == recipe


def test_a_written_recipe_has_every_key() -> None:
    import tomllib

    text = tomllib.loads(recipe_text(recipe_from_mapping({"task": "language-model"})))
    for section, settings in (("data", DataSettings), ("model", ModelSettings), ("training", TrainingSettings)):
        assert set(text[section]) == {declared.name for declared in fields(settings)}


@pytest.mark.parametrize("settings", [ModelSettings, TrainingSettings])
def test_every_key_has_one_line_of_help(settings: type) -> None:
    for declared in fields(settings):
        assert limits_of(declared).help, declared.name
        assert "\n" not in limits_of(declared).help


def test_the_smallest_recipe_gets_the_default_budget(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, MINIMAL))
    assert recipe.training.epochs == 10.0
    assert recipe.training.budget == ("epochs", 10.0)
    assert TrainingSettings().budget == ("epochs", 10.0)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'\xef\xbb\xbftask = "language-model"\r\n[model]\r\nhidden = 3\r\n')
    assert load_recipe(path).model.hidden == 3


def test_whole_numbers_serve_as_numbers(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, MINIMAL + "[training]\nminutes = 3\n"))
    assert recipe.training.minutes == 3.0
    assert isinstance(recipe.training.minutes, float)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[model]\n\nhiden = 3", ":4: model.hiden is no key of [model]; the nearest is hidden"),
        ("model.hiden = 3", ":2: model.hiden is no key of [model]; the nearest is hidden"),
        ("[model]\nbatch = 3", ":3: model.batch is no key of [model]; it belongs to [training]"),
        ("[model]\nqqqqq = 3", ":3: model.qqqqq is no key of [model]; there are: cell, hidden"),
        ("[modle]\nhidden = 3", ":2: modle is no section of a recipe; the nearest is model"),
        ("model = 3", ":2: model must be a section [model], not 3"),
        ("[model]\nhidden = 3.0", ":3: model.hidden must be a whole number, not 3.0"),
        ("[model]\nhidden = true", ":3: model.hidden must be a whole number, not true"),
        ("[model]\ndropout = true", ":3: model.dropout must be a number, not true"),
        ("[model]\ndropout = nan", ":3: model.dropout must be a number, not nan"),
        (f"[model]\ndropout = 1{'0' * 400}", ":3: model.dropout must be a number below 1e308"),
        ("[model]\ntied = 1", ":3: model.tied must be true or false, not 1"),
        ("[model]\ncell = 1", ":3: model.cell must be text in quotes, not 1"),
        ("[model]\nforget_bias = 'one'", ":3: model.forget_bias must be a number or \"none\", not 'one'"),
        ("[model]\ncutoffs = [1, 'a']", ":3: model.cutoffs must be a list of whole numbers, as in [1000, 5000]"),
        ("[model]\ncutoffs = [5, 2]", ":3: model.cutoffs must rise, not [5, 2]"),
        ("[model]\ncutoffs = [0]", ":3: model.cutoffs must be at least 1, not 0"),
        ("[model]\nhidden = 0", ":3: model.hidden must be at least 1, not 0"),
        ("[model]\ndropout = 1", ":3: model.dropout must be at least 0 and below 1, not 1.0"),
        ("[training]\nlearning_rate = 0", ":3: training.learning_rate must be above 0, not 0.0"),
        ("[training]\nfinal_learning_rate = 2", "must be at least 0 and at most 1, not 2.0"),
        (
            "[training]\nschedule = 'cosin'",
            ":3: training.schedule must be one of constant, cosine, step, one-cycle, plateau, not 'cosin'",
        ),
        (
            "[training]\nsteps = 3\nepochs = 1",
            ":4: training.steps and training.epochs are both budgets; keep one of them",
        ),
        ("[model]\ncell = 'lstn'", ":3: model.cell 'lstn' is no known cell; the nearest is lstm"),
        ("[model]\ncell = 'mine.py:leaky'", ":3: model.cell = 'mine.py:leaky' would run code"),
        ("[model]\ntied = true\nembedding = 0", ":4: model.tied shares the embedding's weights"),
        ("[model]\ncharacters = 8", ":3: model.characters is for words, but data.level is 'character'"),
        ("[model]\nbidirectional = true", ":3: model.bidirectional would let the model see"),
        ("[data]\nlevel = 'letter'", ":3: data.level must be one of character, word, bpe, byte, not 'letter'"),
        ("[model]\nhidden = 3\nhidden = 4\n", "not valid TOML: Cannot overwrite a value (at line 4"),
        ("[model\n", "not valid TOML"),
    ],
)
def test_every_mistake_has_its_message(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in message(tmp_path, MINIMAL + text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "task is missing; say which, as in task = 'language-model'"),
        ("task = 3", ":1: task must be text in quotes, not 3"),
        ("task = 'tagg'", ":1: task 'tagg' is unknown; the nearest is tag"),
    ],
)
def test_the_task_is_checked(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in message(tmp_path, text)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = MINIMAL + "[model]\nhiden = 3\ndropout = 1.5\n[training]\nsteps = 'many'\n"
    lines = message(tmp_path, text, ["training.batch=0"]).splitlines()
    assert lines[0].endswith("mine.toml: 4 mistakes")
    assert ":3: model.hiden" in lines[1]
    assert ":4: model.dropout" in lines[2]
    assert ":6: training.steps must be a whole number, not 'many'" in lines[3]
    assert lines[4].strip() == "override: training.batch must be at least 1, not 0"


def test_a_mistake_brings_no_mistakes_that_only_follow_from_it(tmp_path: Path) -> None:
    text = MINIMAL + "[data]\nlevel = 'words'\n[model]\ncharacters = 8\n"
    assert "characters" not in message(tmp_path, text)


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("model.hidden=7", "model", "hidden", 7),
        (" model.hidden = 7 ", "model", "hidden", 7),
        ("model.hidden=1_000", "model", "hidden", 1000),
        ("model.dropout=0", "model", "dropout", 0.0),
        ("model.tied=true", "model", "tied", True),
        ("model.cell=gru", "model", "cell", "gru"),
        ('model.cell="gru"', "model", "cell", "gru"),
        ("model.cutoffs=[10, 20]", "model", "cutoffs", (10, 20)),
        ("model.forget_bias=none", "model", "forget_bias", None),
        ("model.forget_bias=1", "model", "forget_bias", 1.0),
        ("data.split=90/10", "data", "split", "90/10"),
        ("data.split=100", "data", "split", "100"),
        ("data.path=a=b # c", "data", "path", "a=b # c"),
        ("data.path=", "data", "path", ""),
    ],
)
def test_overrides_as_typed(override: str, section: str, key: str, value: object) -> None:
    recipe = recipe_from_mapping({"task": "language-model"}, [override])
    assert getattr(getattr(recipe, section), key) == value


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.hidden", "'model.hidden' is no override; write section.key=value, as in model.hidden=256"),
        ("=3", "'=3' is no override"),
        ("hidden=3", "override: hidden needs its section; write model.hidden"),
        ("model=3", "override: model is a section; set one of its keys, as in model.cell"),
        ("trainin.step=3", "override: trainin.step is no key of a recipe; the nearest is training.steps"),
        ("model.hiden=3", "override: model.hiden is no key of [model]; the nearest is hidden"),
        ("model.hidden=True", "override: model.hidden must be a whole number, not 'True'"),
        ("model.hidden=", "override: model.hidden must be a whole number, not ''"),
        ("model.cell=lstn", "override: model.cell 'lstn' is no known cell; the nearest is lstm"),
        ("task=translat", "override: task 'translat' is unknown; the nearest is translate"),
    ],
)
def test_mistaken_overrides(override: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe_from_mapping({"task": "language-model"}, [override])
    assert expected in str(caught.value)


def test_overrides_from_python_keep_their_types(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + "[model]\nhidden = 9\nlayers = 1\n")
    recipe = load_recipe(path, {"model.hidden": 11, "data.path": Path("a.txt")})
    assert (recipe.model.hidden, recipe.model.layers, recipe.data.path) == (11, 1, "a.txt")
    with pytest.raises(UserError, match="must be a whole number, not '11'"):
        load_recipe(path, {"model.hidden": "11"})


@pytest.mark.parametrize("name", ["steps", "epochs", "minutes"])
def test_a_budget_of_zero_is_a_mistake_where_it_is_the_only_one(tmp_path: Path, name: str) -> None:
    message = rf"training\.{name} = 0 is no budget, and no other is given"
    with pytest.raises(UserError, match=message):
        recipe_from_mapping({"task": "language-model"}, [f"training.{name}=0"])
    with pytest.raises(UserError, match=message):
        recipe_from_mapping({"task": "language-model", "training": {name: 0}})
    with pytest.raises(UserError, match=message):
        recipe_from_mapping({"task": "language-model", "training": {name: 5}}, {f"training.{name}": 0})
    with pytest.raises(UserError, match=rf"training\.{name} must be at least 0, not -1"):
        recipe_from_mapping({"task": "language-model"}, [f"training.{name}=-1"])


def test_a_budget_of_zero_is_off_beside_another() -> None:
    other = recipe_from_mapping({"task": "language-model", "training": {"steps": 0, "epochs": 3}})
    assert other.training.budget == ("epochs", 3.0)
    assert other.with_overrides(["training.minutes=0"]).training.budget == ("epochs", 3.0)
    written = recipe_from_mapping({"task": "language-model", "training": {"steps": 0, "epochs": 0.0, "minutes": 0}})
    assert written.training.budget == ("epochs", 10.0)
    assert Recipe().with_overrides(["model.hidden=9"]).training.budget == ("epochs", 10.0)


def test_a_file_without_its_cells_name_is_explained() -> None:
    with pytest.raises(UserError, match=r"does not say which cell of the file; write mine\.py:NAME"):
        recipe_from_mapping({"task": "language-model"}, ["model.cell=mine.py"])


def test_an_override_of_the_budget_replaces_the_recipes_own(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + "[training]\nminutes = 5.0\n")
    recipe = load_recipe(path, ["training.steps=40"])
    assert recipe.training.budget == ("steps", 40.0)
    assert recipe.with_overrides({"training.epochs": 2}).training.budget == ("epochs", 2.0)
    with pytest.raises(UserError, match=r"override: training\.steps and training\.epochs are both budgets"):
        recipe.with_overrides(["training.steps=1", "training.epochs=2"])


def test_a_cell_of_ones_own_comes_by_override_only(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, MINIMAL), ["model.cell=mine.py:leaky"])
    assert recipe.model.cell == "mine.py:leaky"
    assert recipe.with_overrides(["training.seed=2"]).model.cell == "mine.py:leaky"
    path = written(tmp_path, recipe_text(recipe))
    with pytest.raises(UserError, match="would run code"):
        load_recipe(path)
    assert load_recipe(path, own_cell=True).model.cell == "mine.py:leaky"


def test_rebased_paths_lead_to_the_same_files(tmp_path: Path) -> None:
    outside = str(tmp_path / "b.txt")
    recipe = recipe_from_mapping({"task": "language-model", "data": {"path": "texts/a.txt", "valid": outside}})
    moved = recipe.rebased(tmp_path / "recipes", tmp_path / "runs" / "a")
    assert (tmp_path / "runs" / "a" / moved.data.path).resolve() == (tmp_path / "recipes/texts/a.txt").resolve()
    assert (moved.data.valid, moved.data.test) == (outside, "")


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml: no such recipe"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(UserError, match="is a folder"):
        load_recipe(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"task = '\xe9'")
    with pytest.raises(UserError, match="not UTF-8 at byte 8"):
        load_recipe(tmp_path / "latin.toml")
    with pytest.raises(UserError, match=r"mine\.toml/x: cannot be read: Not a directory"):
        load_recipe(written(tmp_path, MINIMAL) / "x")
