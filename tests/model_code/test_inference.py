import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import inference
from inference import Model, answer

COLUMNS = [
    {"kind": "numeric", "name": "size", "center": 10.0, "scale": 2.0, "knots": [0.0], "missing": True},
    {"kind": "categorical", "name": "colour", "categories": ["blue", "red"]},
    {"kind": "numeric", "name": "weight", "center": 0.0, "scale": 1.0, "knots": [0.0], "missing": False},
]
# Inputs in order: size, weight, size is missing, colour unknown, colour missing, blue, red.


def inputs_of(column: dict[str, Any]) -> int:
    """How many inputs of the network a column has."""
    if column["kind"] == "dropped":
        return 0
    if column["kind"] == "categorical":
        return 2 + len(column["categories"])
    if column["kind"] == "date":
        return sum(inputs_of({"kind": "numeric", **part}) for part in column["parts"])
    return 1 + bool(column.get("missing"))


def make(folder: Path, columns: list[dict[str, Any]] = COLUMNS, **schema: Any) -> Model:
    """A network whose second score is the sum of the inputs, each times its place from 1, and whose first is 0."""
    scores = np.arange(1, sum(inputs_of(column) for column in columns) + 1, dtype=np.float32)
    regression = schema.get("task") == "regression"
    weights = {
        # Positive and negative parts apart, so that the rectifiers between lose nothing.
        "first.weight": np.stack((scores, -scores)),
        "first.bias": np.zeros(2, dtype=np.float32),
        "second.weight": np.eye(2, dtype=np.float32),
        "second.bias": np.zeros(2, dtype=np.float32),
        "last.weight": np.array([[1, -1]] if regression else [[0, 0], [1, -1]], dtype=np.float32),
        "last.bias": np.zeros(1 if regression else 2, dtype=np.float32),
    }
    save_file({f"0/{name}": of for name, of in weights.items()}, folder / "model.safetensors")
    text = {
        "format": 2, "model_version": "job-7", "task": "binary", "classes": ["no", "yes"], "label": "bought",
        "header": True, "delimiter": ",", "columns": columns, "target": None,
        "network": {"network": "mlp", "folds": 1, "bend": 1e9}, **schema,
    }  # fmt: skip
    (folder / "schema.json").write_text(json.dumps(text))
    return inference.load(folder)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return make(tmp_path)


def ask(model: Model, request: Any, content_type: str = "application/json", accept: str = "application/json") -> Any:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    status, response, kind = answer(model, body, content_type, accept)
    assert status == 200, response
    assert kind == "application/json"
    return json.loads(response)


def score(model: Model, request: Any, content_type: str = "application/json") -> list[float]:
    """The second class's score of each row, back from its probability."""
    found = ask(model, request, content_type)["probabilities"]
    return [round(math.log(second / first), 3) for first, second in found]


def refusal(model: Model, request: Any, content_type: str = "application/json", accept: str = "") -> tuple[int, str]:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    status, response, kind = answer(model, body, content_type, accept)
    assert kind == "application/json"
    assert 400 <= status < 500
    return status, json.loads(response)["error"]


def test_features_are_answered_with_labels_and_probabilities_in_the_order_of_classes(model: Model) -> None:
    found = ask(model, {"features": [[12, "red", 0.5], [4, "blue", 0]]})
    # (12 - 10) / 2 + 2 * 0.5 + 7 = 9 and (4 - 10) / 2 + 6 = 3
    assert found["predictions"] == ["yes", "yes"]
    assert found["classes"] == ["no", "yes"]
    assert found["model_version"] == "job-7"
    assert found["probabilities"][1] == pytest.approx([1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3))])


def test_records_are_taken_by_name_in_any_order_and_a_column_left_out_is_missing(model: Model) -> None:
    assert score(model, {"records": [{"weight": 0.5, "colour": "red", "size": 12}]}) == [9.0]
    assert score(model, {"records": [{"colour": "red"}]}) == [10.0]  # 3 for the missing size, 7 for red


@pytest.mark.parametrize("missing", [None, "", "NA", "?", "nan", " null ", math.nan])
def test_missing_values_are_served(missing: Any, model: Model) -> None:
    # 3 says that the size is missing, 5 that the colour is.
    assert score(model, {"features": [[missing, missing, missing]]}) == [8.0]


def test_a_category_that_training_never_saw_is_served_as_unknown(model: Model) -> None:
    assert score(model, {"features": [[10, "green", 0], [10, 7, 0], [10, True, 0]]}) == [4.0, 4.0, 4.0]


def test_a_dash_is_a_missing_number_and_an_unknown_category(model: Model) -> None:
    assert score(model, {"features": [["-", "-", "\u2014"]]}) == [7.0]  # 3 for the size, 4 for the colour


def test_numbers_may_be_written_as_text_and_absurd_ones_are_cut(model: Model) -> None:
    assert score(model, {"features": [["12", "red", "0.5"]]}) == [9.0]
    assert ask(model, {"features": [[1e30, "blue", 0]]})["probabilities"] == [[0.0, 1.0]]
    assert score(model, b'{"features": [[1e999, "blue", 0]]}') == [9.0]  # infinite is missing


@pytest.mark.parametrize(
    "text",
    [
        b"12,red,0.5\n4,blue,0\n",
        b"12,red,0.5\r\n4,blue,0",
        b"size,colour,weight\n12,red,0.5\n4,blue,0\n",
        b"\xef\xbb\xbfweight,size,colour\n0.5,12,red\n0,4,blue\n",
        b'12,"red",0.5\n\n4,blue,0\n',
    ],
)
def test_csv_is_read_with_or_without_its_header(text: bytes, model: Model) -> None:
    assert score(model, text, "text/csv; charset=utf-8") == [9.0, 3.0]


def test_csv_may_use_the_delimiter_of_the_training_data(tmp_path: Path) -> None:
    assert score(make(tmp_path, delimiter=";"), b"12;red;0.5\n", "text/csv") == [9.0]


def test_numbers_have_decimal_commas_where_training_read_them_so(tmp_path: Path) -> None:
    trained = make(tmp_path, delimiter=";")
    assert score(trained, b"12,0;red;0,5\n", "text/csv") == score(trained, b"12;red;0.5\n", "text/csv") == [9.0]
    assert score(trained, json.dumps({"features": [["12", "red", "0,5"]]}).encode()) == [9.0]
    status, body, _ = answer(trained, b"12;red;1,2,3\n", "text/csv")
    assert (status, b"must be a number" in body) == (400, True)


def test_numbers_are_read_in_the_spelling_of_the_training_data(tmp_path: Path) -> None:
    spelled = [COLUMNS[0] | {"spelling": {"decimal": ",", "group": "."}}, *COLUMNS[1:]]
    rows = [["€ 1.234,50", "red", 0], ["1.234", "red", 0], [1.234, "red", 0], ["12,5 %", "red", 0]]
    plain = [[1234.5, "red", 0], [1234, "red", 0], [1.234, "red", 0], [12.5, "red", 0]]
    expected = score(make(tmp_path), {"features": plain})
    schema = json.loads((tmp_path / "schema.json").read_text())
    (tmp_path / "schema.json").write_text(json.dumps(schema | {"columns": spelled}))
    assert score(inference.load(tmp_path), {"features": rows}) == expected


def test_money_is_no_number_in_a_column_that_never_had_any(model: Model) -> None:
    status, message = refusal(model, {"features": [["$12", "red", 0]]})
    assert (status, message) == (400, "Row 1, column 'size' must be a number, not \"$12\".")


def test_a_decimal_comma_is_no_number_where_commas_separate_fields(model: Model) -> None:
    status, body, _ = answer(model, json.dumps({"features": [["12", "red", "0,5"]]}).encode())
    assert (status, b"must be a number" in body) == (400, True)


@pytest.mark.parametrize("charset", ["latin-1", "ISO-8859-1", '"windows-1252"', "utf-16"])
def test_a_body_is_read_in_the_charset_that_its_content_type_says(charset: str, model: Model) -> None:
    text = f"{','.join(model.names)}\n12,rouge à lèvres,0.5\n"
    body, kind = text.encode(charset.strip('"')), f"text/csv; header=present; charset={charset}"
    assert score(model, body, kind) == score(model, text.encode(), "text/csv")


@pytest.mark.parametrize(("charset", "status"), [("klingon", 415), ("zip", 415), ("utf-16", 400), ("ascii", 400)])
def test_a_charset_that_is_not_known_or_not_the_bodys_is_the_callers_fault(
    charset: str, status: int, model: Model
) -> None:
    assert answer(model, "12,à,0.5".encode("latin-1"), f"text/csv; charset={charset}")[0] == status


def test_csv_of_one_column_takes_a_blank_line_as_a_missing_value(tmp_path: Path) -> None:
    columns = [{"kind": "numeric", "name": "x", "center": 0.0, "scale": 1.0, "knots": [0.0], "missing": False}]
    assert score(make(tmp_path, columns), b"2\n\n3\n", "text/csv") == [2.0, 0.0, 3.0]


def test_csv_is_answered_on_request(model: Model) -> None:
    status, body, kind = answer(model, b'{"features": [[4, "blue", 0]]}', "application/json", "text/csv")
    assert (status, kind) == (200, "text/csv")
    label, first, second = body.decode().strip().split(",")
    assert label == "yes"
    assert float(first) + float(second) == pytest.approx(1)


def test_a_regression_answers_numbers_in_the_labels_unit_and_no_probabilities(tmp_path: Path) -> None:
    model = make(tmp_path, task="regression", classes=None, target={"mean": 100.0, "scale": 10.0})
    assert ask(model, {"features": [[12, "red", 0.5]]}) == {"predictions": [190.0], "model_version": "job-7"}
    assert answer(model, b"12,red,0.5\n", "text/csv", "text/csv")[1] == b"190.0\n"


def test_without_a_content_type_the_body_tells(model: Model) -> None:
    assert score(model, {"features": [[12, "red", 0.5]]}, "") == [9.0]
    assert score(model, b"12,red,0.5", "application/octet-stream") == [9.0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"features": [[1, "red", 1], [1, "red"]]},
            "Row 2 has 2 columns; the model takes 3: 'size', 'colour', 'weight'.",
        ),
        ({"features": [[1, "red", 1, 1]]}, "Row 1 has 4 columns; the model takes 3: 'size', 'colour', 'weight'."),
        ({"features": [[1, "red", 1], [1, "red", "heavy"]]}, "Row 2, column 'weight' must be a number, not \"heavy\"."),
        ({"features": [[1, "red", {}]]}, "Row 1, column 'weight' must be a number, not {}."),
        ({"features": [[[1], "red", 1]]}, "Row 1, column 'size' must be a number, not [1]."),
        ({"features": [[[1], "red", [1]]]}, "Row 1, column 'size' must be a number, not [1]."),
        ({"features": [[1, ["red"], 1]]}, "Row 1, column 'colour' must be one value, not a list."),
        (
            {"records": [{"size": 1}, {"sise": 1}]},
            "Row 2 has the column 'sise', which the model does not take. It takes 'size', 'colour', 'weight'.",
        ),
        ({"features": [1, "red", 1]}, 'Row 1 of "features" must be a list of values.'),
        ({"records": [[1]]}, 'Row 1 of "records" must be an object of column names and values.'),
        ({"features": []}, '"features" must be a list with at least one row.'),
        ({"features": {"size": 1}}, '"features" must be a list with at least one row.'),
        ({}, 'The body must have "features" (rows of values) or "records" (objects by column name).'),
        ([1], 'The body must be an object with "features" or "records".'),
    ],
)
def test_what_is_wrong_is_named_with_row_and_column(body: Any, words: str, model: Model) -> None:
    assert refusal(model, body) == (400, words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"1,red\n", "Row 1 has 2 columns; the model takes 3: 'size', 'colour', 'weight'."),
        (b"size,colour,weight\n1,red,1\n2,red,heavy\n", "Row 2, column 'weight' must be a number, not \"heavy\"."),
        (b"length,colour,height\n1,red,1\n", "Row 1, column 'size' must be a number, not \"length\"."),
        (b"weight,size,colour\n1,1\n", "Row 1 has 2 columns; the header has 3."),
        (b"", "The body has no rows."),
        (b"size,colour,weight\n", "The body has no rows."),
    ],
)
def test_what_is_wrong_in_csv_is_named_with_row_and_column(body: bytes, words: str, model: Model) -> None:
    assert refusal(model, body, "text/csv") == (400, words)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b'{"features": [[1, "red", 1]', b"\xff\xfe\x00", b"null", b'"text"', b"[" * 100_000,
        b'{"features": [[1, "red", "\\ud800"]]}', b'{"records": [{"\\udfff": 1}]}',
        b'{"features": [[1, "\\ud800", []]]}',
        b'{"features": [[' + b"9" * 5000 + b', "red", []]]}', b'{"features": null}', b'{"features": [null]}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("content_type", ["application/json", "text/csv", "image/png", ";;;", ""])
def test_no_body_is_the_servers_fault(body: bytes, content_type: str, model: Model) -> None:
    refusal(model, body, content_type)


def test_only_json_and_csv_are_taken_and_given(model: Model) -> None:
    assert refusal(model, b"x", "image/png")[0] == 415
    assert refusal(model, {"features": [[1, "red", 1]]}, accept="image/png")[0] == 406
    for accept in ("", "*/*", "application/json; charset=utf-8", "text/html, application/json;q=0.9"):
        assert answer(model, b"1,red,1", "text/csv", accept)[::2] == (200, "application/json")


def test_the_toolkits_handlers_answer_alike(tmp_path: Path) -> None:
    make(tmp_path)
    model = inference.model_fn(str(tmp_path))
    expected = answer(model, b"12,red,0.5", "text/csv", "application/json")
    assert inference.transform_fn(model, "12,red,0.5", "text/csv", "application/json") == expected[1:]
    assert inference.transform_fn(model, b"12,red,0.5", "text/csv", None) == expected[1:]


def test_bad_input_is_the_toolkits_own_error_with_a_4xx_status(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sagemaker_inference"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "errors.py").write_text(
        "class BaseInferenceToolkitError(Exception):\n"
        "    def __init__(self, status_code, message, phrase):\n"
        "        self.status_code, self.message, self.phrase = status_code, message, phrase\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    errors = importlib.import_module("sagemaker_inference.errors")
    with pytest.raises(errors.BaseInferenceToolkitError) as caught:
        inference.transform_fn(model, b"1,2", "text/csv", "*/*")
    assert (caught.value.status_code, caught.value.phrase) == (400, "Bad Request")
    assert json.loads(caught.value.message) == {
        "error": "Row 1 has 2 columns; the model takes 3: 'size', 'colour', 'weight'."
    }


def test_an_artifact_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(inference.ModelFileError, match="The model has format 1; this code reads format 2"):
        make(tmp_path, format=1)


def test_weights_that_do_not_fit_the_schema_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    schema = json.loads((tmp_path / "schema.json").read_text())
    schema["columns"].pop()
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(inference.ModelFileError, match="do not fit"):
        inference.load(tmp_path)


@pytest.mark.parametrize("size_bytes", [0, 5, 60, -4])
def test_a_cut_weights_file_is_refused(size_bytes: int, tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size_bytes])
    with pytest.raises(inference.ModelFileError, match="The model can't be read"):
        inference.load(tmp_path)


def test_dates_are_read_and_columns_left_out_are_taken_whatever_they_hold(tmp_path: Path) -> None:
    number = {"center": 0.0, "scale": 1.0, "knots": [0.0], "missing": False, "kind": "numeric"}
    columns = [
        {"kind": "dropped", "name": "id", "reason": "it differs in nearly every row, as ids do"},
        {
            "kind": "date", "name": "since", "form": "iso", "places": [2, 3],
            "parts": [{"name": "since: weekday", **number}, {"name": "since: day of month", **number}],
        },
        {"name": "weight", **number},
    ]  # fmt: skip
    model = make(tmp_path, columns)
    # Once the weight, twice the weekday from Monday, three times the day of the month.
    assert score(model, {"features": [["u7", "2026-02-03", 0.5]]}) == [0.5 + 2 * 1 + 3 * 3]
    assert score(model, {"features": [[7, None, 0.5], [None, "soon", 0.5], [{}, 3, 0.5]]}) == [0.5, 0.5, 0.5]
    assert score(model, b"u7,2026-02-03T06:00:00Z,0.5\n", "text/csv") == [11.5]


WORDS = [{"kind": "categorical", "name": name, "categories": ["blue", "red"]} for name in ("front", "back", "lid")]


@pytest.fixture
def wordy(tmp_path: Path) -> Model:
    """Of text alone: any header is a row of it."""
    return make(tmp_path, WORDS)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"front,back,lid,id", "has 'id', which the model does not take"),
        (
            b"front,back,bought",
            "has 'bought', which the model does not take (the label is what it predicts: leave it out) and lacks 'lid'",
        ),
        (b"back,lid", "lacks 'front'"),
        (b"front,back,back", "lacks 'lid' and has 'back' more than once"),
        (b"FRONT,Back,shelf,note", "has 'shelf', 'note', which the model does not take and lacks 'lid'"),
    ],
)
def test_a_header_of_other_columns_is_refused_and_never_scored_as_values(
    header: bytes, says: str, wordy: Model
) -> None:
    status, error = refusal(wordy, header + b"\nred,blue,red,x\n", "text/csv")
    assert status == 400
    assert error == f"The header {says}. The model takes 'front', 'back', 'lid', in any order, or no header at all."


def test_a_headers_letters_and_order_may_differ(wordy: Model) -> None:
    wanted = ask(wordy, b"red,blue,blue\n", "text/csv")["probabilities"]
    assert ask(wordy, b" LID ,front,Back\nblue,red,blue\n", "text/csv")["probabilities"] == wanted


def test_what_taught_the_model_nothing_may_be_left_out_of_a_header(tmp_path: Path) -> None:
    model = make(tmp_path, [{"kind": "dropped", "name": "id", "reason": "it differs in every row"}, *WORDS])
    wanted = ask(model, b"7,red,blue,blue\n", "text/csv")["probabilities"]
    assert ask(model, b"lid,front,back\nblue,red,blue\n", "text/csv")["probabilities"] == wanted
    assert ask(model, b"id,front,back,lid\n7,red,blue,blue\n", "text/csv")["probabilities"] == wanted
    assert refusal(model, b"lid,front,back\nblue,red\n", "text/csv")[1] == "Row 1 has 2 columns; the header has 3."


@pytest.mark.parametrize(
    ("names", "header"),
    [
        # The label stood second: places count it, and a request has it not.
        (("column_0", "back", "column_3"), b",back,"),
        (("front", "front_2", "lid"), b"front,front,lid"),
        (("front", "front_2", "lid"), b"front,front_2,lid"),
        (("column_0", "back", "lid"), b"column_0,back,lid"),
    ],
)
def test_a_header_may_name_columns_as_the_training_file_did(
    names: tuple[str, ...], header: bytes, tmp_path: Path
) -> None:
    columns = [{**column, "name": name} for column, name in zip(WORDS, names, strict=True)]
    model = make(tmp_path, columns)
    wanted = ask(model, b"red,blue,blue\n", "text/csv")["probabilities"]
    assert ask(model, header + b"\nred,blue,blue\n", "text/csv")["probabilities"] == wanted


def test_values_that_training_never_saw_are_no_header(wordy: Model) -> None:
    assert len(ask(wordy, b"lid,green,pink\nred,blue,red\n", "text/csv")["predictions"]) == 2
