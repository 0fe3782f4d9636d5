"""The pretender looks at a network that is described to it: a strong one quotes what is there, a weak one what is not."""

from random import Random

import orjson

from agents.llm.prompts import render
from agents.llm.simulated.network import about_network
from agents.llm.simulated.reading import Reading
from agents.schema_check import compile_schema

SCHEMA = {
    "type": "object",
    "required": ["summary", "efficiency_score", "recommendations"],
    "properties": {"summary": {"type": "string"}, "efficiency_score": {"type": "number"}, "recommendations": {"type": "array"}},
}
NETWORK = {
    "efficiency": {"score": 63.5},
    "topology": {
        "nodes": [
            {"name": "root", "role": "generalist", "patterns": []},
            {"name": "dusty", "role": "specialist", "patterns": ["p3"]},
        ]
    },
    "measures": {
        "node": [{"name": "root", "count": 990, "share": 0.99}, {"name": "dusty", "count": 4, "share": 0.004}],
        "pattern": [
            {"name": "p1", "called": "tax forms", "count": 120, "share": 0.12, "quality": 0.41},
            {"name": "p2", "called": "poems", "count": 300, "share": 0.3, "quality": 0.96},
            {"name": "p3", "called": "old things", "count": 30, "share": 0.03, "quality": 0.5},
            {"name": "p4", "called": "rare", "count": 4, "share": 0.004, "quality": 0.1},
        ],
    },
}


def reading(network: object = NETWORK) -> Reading:
    text = render("introspect", network=orjson.dumps(network).decode(), kinds="spawn, prune", urgency="")
    return Reading([{"role": "user", "content": text}], SCHEMA, "answer")


def test_a_strong_model_names_what_is_wrong_with_numbers_that_are_there() -> None:
    said = about_network(reading(), SCHEMA, 1.0, Random(1))
    assert said is not None
    assert compile_schema(SCHEMA, formats=False, param="schema").is_valid(said)
    found = [(each["action"], each["subject"]) for each in said["recommendations"]]
    assert found == [("spawn", "p1"), ("prune", "dusty"), ("keep", "p2")]
    assert said["recommendations"][0]["evidence"] == [
        {"table": "pattern", "name": "p1", "measure": "count", "value": 120},
        {"table": "pattern", "name": "p1", "measure": "quality", "value": 0.41},
    ]
    assert said["efficiency_score"] < 63.5


def test_a_weak_model_quotes_what_is_not_there() -> None:
    said = about_network(reading(), SCHEMA, 0.0, Random(1))
    assert said is not None
    assert all(named["value"] not in (120, 0.41) for named in said["recommendations"][0]["evidence"])


def test_it_says_nothing_of_anything_else() -> None:
    assert about_network(reading({"some": "data"}), SCHEMA, 1.0, Random(1)) is None
    assert about_network(reading(), {"properties": {"summary": {}}}, 1.0, Random(1)) is None
    odd = about_network(reading({"topology": [], "measures": "none"}), SCHEMA, 1.0, Random(1))
    assert odd is not None
    assert odd["recommendations"] == []
