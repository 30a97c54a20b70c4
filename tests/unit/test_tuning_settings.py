"""What a search for the smallest proxy may be given."""

from __future__ import annotations

import pytest

from nasbench.config.component import fields_of, parse
from nasbench.core.errors import ConfigError
from nasbench.tuning.settings import QUICK, Span, TuningSettings


def test_the_defaults_and_the_quick_run_are_settings_and_survive_a_round_trip():
    for fields in ({}, dict(QUICK)):
        settings = parse(TuningSettings, fields)
        assert parse(TuningSettings, fields_of(settings)) == settings
        assert settings.build_searcher().name == "darts"
        assert settings.build_space().name == "darts"
    assert parse(TuningSettings, dict(QUICK)).seeds == (0,)


def test_a_span_is_of_whole_numbers_where_both_ends_are():
    assert Span(low=1, high=5).whole
    assert not Span(low=1.0, high=5).whole
    candidates = parse(
        TuningSettings,
        {"selectors": {"random": {}, "entropy-tails-p1": {"bin_width": [0.5, "svhn"], "class_balance": [True, False]}}},
    ).candidates
    assert list(candidates) == ["entropy-tails-p1", "random"]
    assert candidates["entropy-tails-p1"] == {"bin_width": (0.5, "svhn"), "class_balance": (True, False)}


def test_the_number_of_trials_is_no_part_of_a_study_and_all_else_is():
    plain = TuningSettings()
    assert TuningSettings(trials=99).identity == plain.identity
    for fields in (
        {"margin": 0.02},
        {"seeds": [4]},
        {"seed": 1},
        {"headroom": 0.5},
        {"fraction": {"low": 0.1, "high": 1}},
    ):
        assert parse(TuningSettings, fields).identity != plain.identity, fields
    assert TuningSettings(margin=0.5, seed=3).measure_identity == plain.measure_identity
    assert parse(TuningSettings, {"augment": {"channels": 9}}).measure_identity != plain.measure_identity


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"selectors": {}}, "selectors: is empty"),
        ({"selectors": {"randm": {}}}, "there is no selector 'randm'"),
        ({"selectors": {"random": {"bin_width": [1.0]}}}, "selectors.random.bin_width: unknown key"),
        ({"selectors": {"entropy-tails-p1": {"bin_width": {"low": 0.1, "high": 99}}}}, "bin_width: 99"),
        ({"selectors": {"entropy-tails-p1": {"bin_width": 0.5}}}, "0.5 is no range"),
        ({"selectors": {"entropy-tails-p1": {"bin_width": []}}}, "[] is no range"),
        ({"selectors": {"entropy-tails-p1": {"bin_width": [0.5, 0.5]}}}, "names a choice twice"),
        ({"selectors": {"entropy-tails-p1": {"bin_width": {"low": 0.5, "high": 0.1}}}}, "must lie below high"),
        ({"selectors": {"entropy-tails-p1": {"bin_width": {"lw": 0.5, "high": 0.1}}}}, "Did you mean 'low'"),
        ({"fraction": {"low": 0.0, "high": 0.5}}, "must lie above 0"),
        ({"fraction": {"low": 0.0, "high": 0.5, "log": True}}, "has no logarithm"),
        ({"fraction": {"low": 0.5, "high": 1.5}}, "at most at 1"),
        ({"seeds": [1, 1]}, "names one twice"),
        ({"seeds": []}, "seeds: "),
        ({"margin": 1.0}, "margin: 1.0 is not allowed"),
        ({"trails": 3}, "Did you mean 'trials'"),
        ({"searcher": "dart"}, "Did you mean 'darts'"),
        ({"searcher_options": {"epoch": 3}}, "Did you mean 'epochs'"),
        ({"space": "dart"}, "Did you mean 'darts'"),
        ({"start": [{"selector": "whole", "fraction": 0.1}]}, "start.0.selector: 'whole' is not among"),
        ({"start": [{"selector": "random"}]}, "start.0: has nothing; needed are fraction"),
        ({"start": [{"selector": "random", "fraction": 0.9}]}, "start.0.fraction: 0.9 is not within"),
        ({"start": [{"selector": "random", "fraction": 0.1, "x": 1}]}, "start.0: has fraction, x"),
    ],
)
def test_what_cannot_be_searched_is_refused(fields, said):
    with pytest.raises(ConfigError) as caught:
        parse(TuningSettings, fields)
    assert said in str(caught.value)
