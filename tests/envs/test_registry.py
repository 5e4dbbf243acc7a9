import pytest

from rlx.envs import GridWorld, TabularMDP, check_env, make, names


@pytest.mark.parametrize("name", ["rlx/keydoor-5", "rlx/hazards-5", "rlx/chain-4", "rlx/cmdp-0"])
def test_each_kind_of_own_environment_conforms(name):
    """Scalar and vector reward, grid and table; the other names are other arrays."""
    check_env(*make(name))


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("rlx/")])
def test_every_own_name_can_be_made(name):
    _, params = make(name)
    assert int(params.max_steps_in_episode) > 0


def test_the_number_in_a_name_is_the_size():
    env, params = make("rlx/keydoor-7")
    assert isinstance(env, GridWorld)
    assert params.layout.wall.shape == (7, 7)
    env, params = make("rlx/corridor-6", slip=0.25)
    assert params.layout.wall.shape == (1, 6)
    assert float(params.slip) == 0.25
    env, params = make("rlx/keydoor")
    assert params.layout.wall.shape == (15, 15)


def test_the_number_of_a_random_process_is_its_seed():
    (first, a), (_, b), (_, c) = make("rlx/cmdp-1"), make("rlx/cmdp-1"), make("rlx/cmdp-2")
    assert isinstance(first, TabularMDP)
    assert (a.P == b.P).all()
    assert (a.P != c.P).any()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("CartPole-v0", "CartPole-v1"),
        ("rlx/keydor-15", "rlx/keydoor-15"),
        ("brax/ants", "brax/ant"),
        ("keydoor-15", "rlx/keydoor-15"),
    ],
)
def test_an_unknown_name_is_an_error_that_names_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"{name}.*nearest.*{nearest}") as error:
        make(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["rlx/tworooms-3", "rlx/", "brax/", "MNISTBandit-bsuite", "rlx/keydoor-4"])
def test_names_that_are_nearly_right_are_errors_too(name):
    with pytest.raises(ValueError, match=r"no environment named|odd integer"):
        make(name)
