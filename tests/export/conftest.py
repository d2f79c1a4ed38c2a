"""A whole export of a finished campaign, quantized too: it takes seconds, so it is made once."""

import pytest


@pytest.fixture(scope="session")
def exported(finished, tmp_path_factory):
    """The export; tests must not change it."""
    return finished.export("knee", tmp_path_factory.mktemp("export") / "model", quantize="int8")


@pytest.fixture(scope="session")
def val():
    """The images that the campaign measured on."""
    from moosearch.data.digits import Digits

    return Digits(auxiliary=("odd_even",)).load().val
