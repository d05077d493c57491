"""Options of the wrong type, or that contradict one another, are refused when the method is made."""

import numpy as np
import pytest

import dynvit
from dynvit.reduction.reducer import REDUCERS, make_reducer


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("topk", {"keep": "0.7"}, "keep must be a number or a list of numbers, got '0.7'"),
        ("topk", {"keep": True}, "keep must be a number or a list of numbers, got True"),
        ("topk", {"locations": 2}, "locations must be a list of whole numbers, got 2"),
        ("topk", {"locations": (1.0, 2.0)}, "locations must be a list of whole numbers"),
        ("tome", {"r": 2.5}, "r must be a whole number or a list of whole numbers, got 2.5"),
        ("tome", {"proportional": "false"}, "proportional must be true or false, got 'false'"),
        ("mctf", {"bidirection": "no"}, "bidirection must be true or false, got 'no'"),
        ("pitome", {"margin": float("nan")}, "margin must be a number, got nan"),
        ("diffrate", {"prune": [10.5] * 6}, "prune must be a list of whole numbers"),
        ("kmedoids", {"rounds": 2.5}, "rounds must be a whole number, got 2.5"),
        ("random", {"seed": None}, "seed must be a whole number, got None"),
    ],
)
def test_wrong_types_say_so(small_trunk, method, options, words):
    with pytest.raises(ValueError, match=words):
        dynvit.reduce(small_trunk, method, **options)


@pytest.mark.parametrize("method", [name for name in dynvit.list_reducers() if hasattr(REDUCERS[name], "locations")])
def test_counts_that_rise_say_so(small_trunk, method):
    with pytest.raises(ValueError, match="keep must not rise, got 30 tokens after 10: what left does not come back"):
        dynvit.reduce(small_trunk, method, keep=[10, 30, 5])
    assert min(filter(None, dynvit.reduce(small_trunk, method, keep=[0.5, 30, 5]).plan(64))) == 5


@pytest.mark.parametrize(
    "method", [name for name in dynvit.list_reducers() if issubclass(REDUCERS[name], dynvit.Keeping)]
)
def test_shares_of_all_patches_that_rise_say_so(small_trunk, method):
    """Places that would leave more than there are did nothing, in silence; EViT's shares are of the present tokens."""
    words = r"keep must not rise, got 0.5 after 0.3, which are 32 and 19 of 64 patches: shares are of the original"
    with pytest.raises(ValueError, match=words):
        dynvit.reduce(small_trunk, method, keep=[0.3, 0.5, 0.2])
    with pytest.raises(ValueError, match=r"keep must not rise, got 40 after 0.3, which are 40 and 19 of 64 patches"):
        dynvit.reduce(small_trunk, method, keep=[0.3, 40, 0.2])
    assert dynvit.reduce(small_trunk, method, keep=[0.5, 0.5, 0.2]).plan(64).count(None) == 4
    assert dynvit.reduce(small_trunk, "evit", keep=[0.3, 0.5, 0.5]).plan(64).count(None) == 3


def test_a_schedule_given_twice_says_so():
    with pytest.raises(ValueError, match=r"inflect is given twice: -1.0, and 1.0 in r \(6, 1.0\); leave one out"):
        make_reducer("tome", {"r": (6, 1.0), "inflect": -1.0})
    assert make_reducer("tome", {"r": (6, 1.0), "inflect": 1.0}).inflect == 1


def test_numbers_of_numpy_are_numbers():
    reducer = make_reducer("topk", {"keep": np.array([40, 20]), "locations": [np.int64(1), np.int64(2)]})
    assert reducer == make_reducer("topk", {"keep": [40, 20], "locations": [1, 2]})
    assert make_reducer("topk", {"keep": np.float64(0.5)}).plan(64, 1, 4) == (None, 32, 16, 8)
    assert make_reducer("tome", {"r": (np.int64(8), -0.5)}) == make_reducer("tome", {"r": 8, "inflect": -0.5})
