"""A manifest that does not fit its graphs is refused when the bundle is loaded, in one line."""

import dataclasses
import re

import pytest

from edgekit.bundle.read import open_bundle
from edgekit.errors import BundleError
from edgekit.runtime.greedy import GreedySearch
from edgekit.runtime.ports import check_ports
from edgekit.runtime.session import create_session


@pytest.fixture(scope="module")
def loaded(embedded_int8):
    bundle = open_bundle(embedded_int8)
    sessions = [create_session(bundle.file(bundle.manifest.graphs[name].file)) for name in ("encoder", "decoder")]
    return bundle.manifest, *sessions


def changed_state(manifest, index, **changes):
    state = list(manifest.state)
    state[index] = dataclasses.replace(state[index], **changes)
    return dataclasses.replace(manifest, state=tuple(state))


def first_carried(manifest):
    return next(i for i, state in enumerate(manifest.state) if state.kind != "constant")


def test_manifest_and_graphs_of_an_export_fit(loaded):
    check_ports(*loaded)


def test_state_that_the_manifest_does_not_list_is_refused(loaded):
    manifest, encoder, decoder = loaded
    without = dataclasses.replace(manifest, state=())
    with pytest.raises(
        BundleError, match="the encoder's outputs have cross_key_0, which the manifest does not explain"
    ):
        GreedySearch(without, encoder, decoder, None)


def test_state_of_another_name_is_refused(loaded):
    manifest, encoder, decoder = loaded
    renamed = changed_state(manifest, first_carried(manifest), past="past_nothing")
    with pytest.raises(BundleError, match=r"the decoder's inputs lack past_nothing.*export the model again"):
        check_ports(renamed, encoder, decoder)


def test_state_of_another_type_is_refused(loaded):
    manifest, encoder, decoder = loaded
    index = first_carried(manifest)
    typed = changed_state(manifest, index, dtype="int64")
    expected = f"{manifest.state[index].past} is tensor(float), expected int64"
    with pytest.raises(BundleError, match=re.escape(expected)):
        check_ports(typed, encoder, decoder)


def test_state_without_a_batch_axis_is_refused(loaded):
    manifest, encoder, decoder = loaded
    index = first_carried(manifest)
    message = f"state {manifest.state[index].name}: expected sizes along all axes"
    with pytest.raises(BundleError, match=message):
        check_ports(changed_state(manifest, index, batch_axis=None), encoder, decoder)


def test_graphs_in_each_others_place_are_refused(loaded):
    manifest, encoder, decoder = loaded
    with pytest.raises(
        BundleError, match=r"the encoder's inputs have cross_key_0, .*; and \d+ more; export the model again"
    ):
        check_ports(manifest, decoder, encoder)


def test_ids_that_a_graph_cannot_run_are_one_line(loaded):
    manifest, encoder, decoder = loaded
    search = GreedySearch(manifest, encoder, decoder, None)
    too_long = [5] * (manifest.architecture["max_position_embeddings"] + 4)
    with pytest.raises(BundleError, match="onnxruntime can't run this bundle's graph") as refused:
        search.search([too_long])
    assert "\n" not in str(refused.value)
