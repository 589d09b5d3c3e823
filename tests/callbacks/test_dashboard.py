"""Pictures as arrays."""

import numpy as np

from tfgates.callbacks.dashboard import HeatMap, gate_image


def test_gate_image_keeps_the_shape_of_a_kernel():
    gates = np.random.default_rng(0).random((3, 3, 2, 4)).astype("float32")
    np.testing.assert_array_equal(gate_image(gates), gates.reshape(18, 4))


def test_a_long_heat_map_keeps_the_whole_time():
    heat = HeatMap(rows=4, columns=3)
    for time in range(11):
        heat.add(np.full(2, time / 16))
    # After 4 rows every other one, after 8 every fourth: 0, 4, 8.
    np.testing.assert_allclose(heat.image(least=1)[:, 0] * 16, [0, 4, 8])


def test_a_wide_heat_map_has_means_of_neighbours():
    heat = HeatMap(columns=3)
    heat.add(np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]))
    np.testing.assert_allclose(heat.image(least=1), [[0.1, 0.5, 0.9]], rtol=1e-6)


def test_a_small_heat_map_is_drawn_larger():
    heat = HeatMap()
    heat.add([0.0, 1.0])
    picture = heat.image(least=8)
    assert picture.shape == (8, 8)
    np.testing.assert_array_equal(picture[:, :4], 0.0)
    np.testing.assert_array_equal(picture[:, 4:], 1.0)
