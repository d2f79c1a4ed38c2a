"""A whole export of a finished campaign, quantized too: it takes seconds, so it is made once."""

import pytest


@pytest.fixture(scope="session")
def exported(finished, shared):
    """The export; tests must not change it."""
    return shared("model", lambda folder: finished.export("knee", folder, quantize="int8"))


@pytest.fixture(scope="session")
def val():
    """The images that the campaign measured on."""
    from moosearch.data.digits import Digits

    return Digits(auxiliary=("odd_even",)).load().val
