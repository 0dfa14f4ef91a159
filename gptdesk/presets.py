"""Presets: the built-in sampler chains, and the check of those that a user has saved."""

from typing import TypeGuard

from samplers import Chain, build, default_chain

PENALTIES = ("repetition_penalty", "presence_frequency", "dry", "logit_bias")  # samplers that precede a temperature


def built_in_presets() -> dict[str, Chain]:
    """Return the presets that every desk has."""
    return {
        "Balanced": default_chain(),
        "Most likely word": Chain(samplers=(build("greedy"),)),
        "Careful": Chain(samplers=(build("temperature", temperature=0.5), build("top_p", top_p=0.8))),
        "Top-k only": Chain(samplers=(build("top_k", top_k=40),)),
        "Top-p only": Chain(samplers=(build("top_p", top_p=0.9),)),
        "Adventurous": Chain(
            samplers=(
                build("presence_frequency", presence_penalty=0.3, frequency_penalty=0.3),
                build("temperature", temperature=1.2),
                build("min_p", min_p=0.05),
            )
        ),
    }


def with_temperature(chain: Chain, temperature: float) -> Chain:
    """Return the chain with another temperature; one that has none gets it after its penalties.

    Raises ValueError for a value that is no temperature, and for greedy, which none can change.
    """
    hotter = build("temperature", temperature=temperature)
    links = [hotter if link.name == hotter.name else link for link in chain.samplers]
    if any(link.name == "greedy" for link in links):
        raise ValueError("greedy always takes the most probable token, so leave its temperature empty")
    if hotter not in links:
        links.insert(max((i for i, link in enumerate(links, 1) if link.name in PENALTIES), default=0), hotter)
    return Chain(samplers=tuple(links))


def check_chain(links: object) -> Chain:
    """Return a saved value as a chain; ValueError if it is none."""
    if not is_chain(links):
        raise ValueError("a preset is a list of samplers with their options")
    return Chain.from_data(links)


def is_chain(links: object) -> TypeGuard[list[dict[str, object]]]:
    """Return whether a saved value has the shape of a chain; `Chain.from_data` checks the rest."""
    return isinstance(links, list) and all(isinstance(link, dict) for link in links)
