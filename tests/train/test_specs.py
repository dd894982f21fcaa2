import problem
import pytest

from larix.embedding import SGD, Adam, Constant, Normal, RowAdagrad, TableSpec, Uniform
from larix.errors import ConfigError
from larix.train.specs import specs_of


def test_rows_say_one_optimizer_for_all_tables_or_a_spec_for_some():
    declared = problem.sample()
    all_alike = specs_of(declared, SGD(lr=0.5), Normal())
    assert [spec.name for spec in all_alike] == ["user", "video", "tags"]
    assert {(spec.optimizer, spec.init) for spec in all_alike} == {(SGD(lr=0.5), Normal())}
    own = TableSpec(name="user", dim=8, optimizer=Adam(), init=Constant())
    some = specs_of(declared, {"user": own}, Uniform(scale=0.1))
    assert some[0] is own
    assert (some[1].optimizer, some[1].init) == (RowAdagrad(), Uniform(scale=0.1))


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("users", TableSpec(name="users", dim=8), "names table 'users'"),
        ("user", TableSpec(name="user", dim=4), "dim 4; the sample has 'user' with dim 8"),
        ("user", TableSpec(name="video", dim=8), "is for table 'video'"),
    ],
)
def test_a_spec_that_does_not_fit_the_sample_is_refused(name, spec, message):
    with pytest.raises(ConfigError, match=message):
        specs_of(problem.sample(), {name: spec}, Uniform())
