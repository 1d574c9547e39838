"""Options: defaults of the paper, one sentence for what can't be used, the same from YAML and from flags."""

from __future__ import annotations

import pytest
import yaml
from click.testing import CliRunner

from propensity.cli.train import command
from propensity.errors import InputError
from propensity.estimators.kinds import ESTIMATORS
from propensity.runs.flags import expanded, flags, options_class, parse_options, read_option_file
from propensity.training import TrainingConfig


def test_defaults_are_those_of_the_paper():
    config = TrainingConfig()
    assert (config.learning_rate, config.betas, config.weight_decay) == (1e-3, (0.95, 0.999), 1e-7)
    assert (config.l_max, config.channels, config.n_layers, config.dropout) == (3, 4, 8, 0.5)
    assert config.trained_species == () and config.schedule == "milestones"


@pytest.mark.parametrize(
    "values, message",
    [
        ({"l_mx": 2}, r"'l_mx' is unknown.*nearest is 'l_max'"),
        ({"lr": 2}, r"'lr' is unknown"),
        ({"epochs": 0}, r"epochs is 0: .*greater than or equal to 1"),
        ({"epochs": "many"}, r"epochs is 'many'"),
        ({"schedule": "cosin"}, r"schedule is 'cosin'.*'cosine'"),
        ({"betas": [0.9]}, "betas"),
        ({"betas": [0.9, 1.0]}, r"betas must lie in \[0, 1\)"),
        ({"milestones": [20, 10]}, "milestones must be rising"),
        ({"inherent_weight": 1.0, "l_max": 0}, "l_max must be at least 1"),
        ({"model": "se3gn"}, r"'se3gn' is unknown.*nearest is 'se3gnn'"),
        ({"split": "random"}, "split is 'random'"),
    ],
)
def test_bad_options_are_one_sentence(values, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_options(values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", sorted(ESTIMATORS))
def test_every_kind_has_flags_with_help(kind):
    result = CliRunner().invoke(command, ["--model", kind, "--help"])
    assert result.exit_code == 0, result.output
    for name in options_class(kind).model_fields:
        assert f"--{name.replace('_', '-')}" in result.output
    assert all(
        option.help
        for option in flags(kind)
        if option.name in TrainingConfig.model_fields and kind == "se3gnn"
    )


def test_expanded_configuration_reads_back(tmp_path):
    run, fit = parse_options(
        {"data": "a.h5", "times": [0.13, "fs=1/e"], "l_max": 2, "trained_species": ["A", "B"]}
    )
    assert run.data == ("a.h5",)  # a lone value is a list of one
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(expanded(run, fit)))
    assert parse_options(read_option_file(path)) == (run, fit)


@pytest.mark.parametrize("text, message", [("[1, 2]", "name: value"), ("a: [", "is not YAML")])
def test_bad_yaml_is_one_sentence(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_option_file(tmp_path / "c.yaml")


def test_missing_yaml_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml can't be read"):
        read_option_file(tmp_path / "none.yaml")
