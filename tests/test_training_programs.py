"""Compiled programs kept in the folder of the compilation cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atomas_jax.training.programs import NEWEST, Kept

ONES = jnp.ones(4)


@jax.jit
def doubled(x):
    return {"twice": 2 * x}


class NotCompiled:
    """In the place of a jitted function, where a program should be found."""

    def lower(self, *arguments):
        raise AssertionError("compiled again")


@pytest.fixture
def folder(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def test_a_second_start_reads_what_the_first_compiled(folder):
    first = Kept(doubled, "fact")(ONES)
    second = Kept(NotCompiled(), "fact")(ONES)
    np.testing.assert_array_equal(first["twice"], second["twice"])


@pytest.mark.parametrize(
    "facts, arguments",
    [
        (("another fact",), (ONES,)),
        (("fact", "and one more"), (ONES,)),
        (("fact",), (jnp.ones(5),)),
        (("fact",), (jnp.ones(4, jnp.int32),)),
    ],
)
def test_another_fact_shape_or_type_is_another_program(folder, facts, arguments):
    Kept(doubled, "fact")(ONES)
    with pytest.raises(AssertionError, match="compiled again"):
        Kept(NotCompiled(), *facts)(*arguments)


def test_another_setting_of_jax_is_another_program(folder):
    Kept(doubled, "fact")(ONES)
    before = jax.config.jax_default_matmul_precision
    try:
        jax.config.update("jax_default_matmul_precision", "highest")
        with pytest.raises(AssertionError, match="compiled again"):
            Kept(NotCompiled(), "fact")(ONES)
    finally:
        jax.config.update("jax_default_matmul_precision", before)


@pytest.mark.parametrize("name", ["XLA_FLAGS", "LIBTPU_INIT_ARGS"])
def test_another_flag_of_the_compiler_is_another_program(folder, monkeypatch, name):
    Kept(doubled, "fact")(ONES)
    monkeypatch.setenv(name, "--xla_cpu_enable_fast_math=true")
    with pytest.raises(AssertionError, match="compiled again"):
        Kept(NotCompiled(), "fact")(ONES)


@pytest.mark.parametrize("damage", [b"", b"no program", b"\x80\x04K\x01."])
def test_a_damaged_program_is_compiled_again(folder, damage):
    Kept(doubled, "fact")(ONES)
    (file,) = folder.glob("*.program")
    whole = file.read_bytes()
    for content in (damage, whole[: len(whole) // 2]):
        file.write_bytes(content)
        np.testing.assert_array_equal(Kept(doubled, "fact")(ONES)["twice"], 2 * ONES)
        Kept(NotCompiled(), "fact")(ONES)  # and is sound again


def test_a_folder_that_takes_no_file_stops_nothing(folder):
    jax.config.update("jax_compilation_cache_dir", str(folder / "file" / "inside"))
    (folder / "file").write_text("in the way")
    np.testing.assert_array_equal(Kept(doubled, "fact")(ONES)["twice"], 2 * ONES)


def test_without_a_folder_the_function_itself_is_called(folder):
    jax.config.update("jax_compilation_cache_dir", None)
    assert Kept(doubled, "fact").load(ONES) is doubled


def test_the_folder_holds_only_the_newest_programs(folder):
    for fact in range(NEWEST + 3):
        Kept(doubled, fact)(ONES)
    assert len([*folder.glob("*.program")]) == NEWEST
    Kept(NotCompiled(), NEWEST + 2)(ONES)


def test_a_program_of_the_compilation_cache_is_not_written_without_its_kernels(folder):
    """On the CPU what jax read from its cache cannot be handed out whole again."""
    least = {"jax_persistent_cache_min_compile_time_secs": 0.0, "jax_persistent_cache_min_entry_size_bytes": -1}
    before = {name: getattr(jax.config, name) for name in least}

    def new():  # another function each time, of one program
        return jax.jit(lambda x: jnp.cumsum(jnp.sort(jnp.sin(x) @ jnp.cos(x).T, axis=0) - x.mean(), axis=1))

    x = jnp.arange(144.0).reshape(12, 12)
    try:
        for name, value in least.items():
            jax.config.update(name, value)
        expected = new()(x)
        for _ in range(3):
            np.testing.assert_array_equal(Kept(new(), "cached")(x), expected)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
