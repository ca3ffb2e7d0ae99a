"""ai.onnx.ml, and the operators on text: a row is a row of a table."""

from collections.abc import Sequence
from dataclasses import replace

from onnxmodel_runtime.rows import extents
from onnxmodel_runtime.rows.elementwise import elementwise
from onnxmodel_runtime.rows.images import first_axis
from onnxmodel_runtime.rows.moving import reshaped
from onnxmodel_runtime.rows.nodes import Node, apart, rank, shape
from onnxmodel_runtime.rows.table import CLASSICAL, rule, varies
from onnxmodel_runtime.rows.values import Kind, Mixed, Unknown, Value, axis_of, moved, rows, together


@rule("Binarizer", "CategoryMapper", "Imputer", "LabelEncoder", "Scaler", domain=CLASSICAL)
def each(node: Node) -> Value:
    """Element by element, or column by column."""
    value = elementwise(node)
    if node.kind in ("Imputer", "Scaler") and rank(value) == 1:
        raise Mixed("treats the batch as the columns of one row")
    return replace(value)


def _table(node: Node) -> Value:
    value = first_axis(node)
    if rank(value) != 2:
        raise Unknown("has an input that is not a table of rows")
    return value


@rule("Normalizer", domain=CLASSICAL)
def normalizer(node: Node) -> Value:
    """Each row by itself."""
    return _table(node)


@rule("LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier", domain=CLASSICAL)
def classifier(node: Node) -> Sequence[Value]:
    """A label of each row, and its scores."""
    value = _table(node)
    assert value.place is not None
    return [rows((1,), value.place), rows((1, node.fresh(1, 1)), value.place)]


@rule("LinearRegressor", "SVMRegressor", "TreeEnsembleRegressor", "TreeEnsemble", domain=CLASSICAL)
def regressor(node: Node) -> Value:
    """Numbers of each row."""
    value = _table(node)
    assert value.place is not None
    targets = node.attribute("n_targets") or node.attribute("targets") or (1 if "SVM" in node.kind else node.fresh(1))
    return rows((1, targets), value.place)


@rule("OneHotEncoder", domain=CLASSICAL)
def encoder(node: Node) -> Value:
    """A new last axis."""
    value = node.batch(0)
    count = len(node.attribute("cats_int64s", ())) or len(node.attribute("cats_strings", ()))
    return moved(value, (*shape(value), count), axis_of(value))


@rule("FeatureVectorizer", domain=CLASSICAL)
def vectorizer(node: Node) -> Value:
    """Columns side by side."""
    values = [first_axis(node, index) for index in range(len(node.inputs))]
    if any(rank(value) != 2 for value in values):
        raise Unknown("has an input that is not a table of rows")
    made = together([replace(value, shape=(shape(value)[0], 1)) for value in values])
    assert made.place is not None
    return rows((1, node.fresh(1)), made.place)


@rule("ArrayFeatureExtractor", domain=CLASSICAL)
def columns(node: Node) -> Value:
    """Columns of the last axis; or of a table, such as that of the labels, by a number of each row."""
    value, wanted = node.batch(0), node.batch(1)
    if value.kind is Kind.CONSTANT and len(shape(value)) < 3 and shape(value)[:-1] in ((), (1,)):
        return reshaped(wanted, (1, extents.product(shape(wanted))))
    node.fixed(1)
    if value.kind is Kind.ROWS and rank(value) == 1:
        raise Mixed("picks rows of the batch by their index")
    apart(value, rank(value) - 1)
    picked = node.given(1).shape
    count = picked[-1] if picked else 1 if picked == () else node.fresh(rank(value) - 1)
    return moved(value, (*shape(value)[:-1], count), axis_of(value))


@rule("ZipMap", domain=CLASSICAL)
def maps(node: Node) -> Value:
    """Make a map of each row's scores, in a sequence. It has the facts of the scores."""
    return _table(node)


@rule("TfIdfVectorizer")
def counts(node: Node) -> Value:
    """Of each row's words; a vector of words is one row."""
    value = first_axis(node)
    if rank(value) != 2:
        raise Mixed("treats the batch as the words of one row")
    assert value.place is not None
    return rows((1, node.fresh(1)), value.place)


@rule("StringNormalizer")
def normalized_text(node: Node) -> Value:
    """Drop the given words from the whole batch."""
    value = node.batch(0)
    if node.attribute("stopwords"):
        raise Mixed("drops words from the whole batch")
    return value


@rule("Tokenizer", domain="com.microsoft")
def tokens(node: Node) -> Value:
    """Fills up to the longest of all rows."""
    raise Mixed("pads to the longest of all rows")


varies("has maps as inputs, which are not traced", "CastMap", "DictVectorizer", domain=CLASSICAL)
