"""The list of models: names first, then versions."""

from tether.edge.openai.model import describe, listing
from tether.testing.catalogue import catalogue_of, model_of


def test_listing_has_names_and_versions():
    catalogue = catalogue_of(
        models=[model_of("b", "1.0"), model_of("a", "1.9"), model_of("a", "1.10"), model_of("c", deprecated=True)]
    )
    made = listing(catalogue.models)
    assert made["object"] == "list"
    assert [one["id"] for one in made["data"]] == ["a", "a:1.10", "a:1.9", "b", "b:1.0", "c:1.0"]


def test_model_has_what_clients_require():
    assert set(describe(model_of("a"))) == {"id", "object", "created", "owned_by"}
