"""What `import ngat` offers: names that are found, and nothing heavy before they are used."""

import subprocess
import sys

import pytest

import ngat


def test_every_offered_name_is_there() -> None:
    for name in ngat.__all__:
        assert getattr(ngat, name) is not None
    assert ngat.NGAT.__module__ == "ngat.model"
    assert set(ngat.__all__) <= set(dir(ngat))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ngat.nonsense


def test_importing_ngat_loads_no_torch() -> None:
    code = "import sys, ngat; print('torch' in sys.modules, hasattr(ngat, 'attend'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
