"""What all presets must keep to."""

import dataclasses

import pytest

from gsljax.presets import PRESETS


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_the_settings_of_evaluations_alone_exist(preset):
    for name in preset.evaluation_settings:
        settings = dataclasses.asdict(preset.config)
        *folders, last = name.split(".")
        for folder in folders:
            settings = settings[folder]
        assert last in settings
