"""Widgets of options, and the panel of a sampler chain."""

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Literal, ParamSpec, get_args, get_origin

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from pydantic.fields import FieldInfo

from gptdesk.markup import markdown_text
from gptdesk.stored_values import is_number
from samplers import Chain, Options, build, default_chain, get

Values = Mapping[Component, object]  # values of the inputs of an event, which lists them as a set
Updates = dict[Block, object]  # updates of the outputs of an event
# Progress is shown nowhere: each component that may show it costs the browser some work at every message of an event.
HIDDEN: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
QUIETLY: dict[str, Any] = HIDDEN | {"queue": False}
STREAMING: dict[str, Any] = HIDDEN | {"concurrency_limit": None}
# for events with messages on the page, which need the queue
WITH_MESSAGES: dict[str, Any] = QUIETLY | {"queue": True, "concurrency_limit": None}
NO_NAME = "⚠ Type a name to save it under."
Parameters = ParamSpec("Parameters")
ACRONYMS = ("api", "dry", "xtc")  # in names of options and samplers


def shows_errors(handler: Callable[Parameters, object]) -> Callable[Parameters, object]:
    """Decorate an event handler to show a ValueError as a message on the page, and then update nothing."""

    @wraps(handler)
    def handle(*args: Parameters.args, **kwargs: Parameters.kwargs) -> object:
        try:
            return handler(*args, **kwargs)
        except ValueError as error:
            gr.Warning(html.escape(str(error)))
            return gr.skip()

    return handle


def label(name: str) -> str:
    """Return the label of an option or sampler: "top_k" -> "Top k", "dry_base" -> "DRY base"."""
    text = name.replace("_", " ").capitalize()
    return " ".join(word.upper() if word.lower() in ACRONYMS else word for word in text.split(" "))


def hint(description: str | None) -> str | None:
    """Return the hint below a label: the description of an option, which a command shows too, with a capital."""
    return f"{description[:1].upper()}{description[1:]}" if description else None


def disable_gradio_checks() -> None:
    """Disable the checks of Gradio's widgets, so that the options' own checks explain a wrong value.

    Gradio's error names no field, and comes with a traceback in the terminal. It creates the widgets anew for every
    page, so patching an instance has no effect; and it writes a .pyi file beside the source of any subclass.
    """
    for component in (gr.Slider, gr.Number, gr.Dropdown, gr.Radio, gr.CheckboxGroup):
        component.preprocess = lambda self, payload: payload  # type: ignore[method-assign]
    # Gradio's own leaves an empty temporary file for each file in each event
    gr.File._process_single_file = lambda self, file: file.path  # type: ignore[method-assign, assignment, return-value]


def fits(component: Component, value: object) -> bool:
    """Return whether a widget can show a saved value, by its type and bounds.

    Choices may have changed since the widget was laid out: see `is_offered`.
    """
    if isinstance(component, gr.Slider):
        return is_number(value) and component.minimum <= value <= component.maximum  # type: ignore[operator]
    if isinstance(component, gr.Number):
        low, high = component.minimum, component.maximum
        if value is None:
            return True
        return is_number(value) and (low is None or low <= value) and (high is None or value <= high)  # type: ignore[operator]
    if isinstance(component, gr.Checkbox):
        return isinstance(value, bool)
    if isinstance(component, gr.File):
        return value is None or (isinstance(value, list) and all(isinstance(one, str) for one in value))
    if isinstance(component, gr.Textbox):
        return value is None or isinstance(value, str)  # one that nobody has typed into holds None
    if isinstance(component, gr.CheckboxGroup) or (isinstance(component, gr.Dropdown) and component.multiselect):
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if isinstance(component, gr.Dropdown | gr.Radio):
        return value is None or isinstance(value, str) or is_number(value)
    return False


def is_offered(component: Component, value: object) -> bool:
    """Return whether a value is among the choices of a widget; True for widgets that take any."""
    if not isinstance(component, gr.Dropdown | gr.Radio | gr.CheckboxGroup):
        return True
    if getattr(component, "allow_custom_value", False) or value is None:
        return True
    offered = [choice for _, choice in component.choices]
    return all(one in offered for one in (value if isinstance(value, list) else [value]))


def widget(name: str, field: FieldInfo, *, value: object = None, sliders: bool = True) -> Component:
    """Return the widget of an option: a slider for a bounded number (if `sliders`), else the one for its type.

    Raises TypeError for a type no widget shows; `check_sampler` finds that before a user does.
    """
    common: dict[str, Any] = {
        "label": label(name),
        "info": hint(field.description),
        "value": field.default if value is None else value,
    }
    kind = field.annotation
    if kind is bool:
        return gr.Checkbox(**common)
    if kind in (int, float):
        low, high, step = _range(field)
        if low is None or high is None or not sliders:
            return gr.Number(precision=0 if kind is int else None, **common)
        return gr.Slider(low, high, step=step, **common)
    if get_origin(kind) is Literal:
        return gr.Dropdown(list(get_args(kind)), **common)
    if kind is str:
        return gr.Textbox(**common)
    raise TypeError(f"option {name!r} has the type {kind}, which no widget shows; use bool, int, float, str or Literal")


def _range(field: FieldInfo) -> tuple[float | None, float | None, float]:
    """Return lowest, highest and step of a number, from its bounds or, before those, from `json_schema_extra`."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    whole = field.annotation is int
    step = float(str(extra.get("step", 1 if whole else 0.01)))
    low, high = _bound(field, "ge"), _bound(field, "le")
    if low is None and (above := _bound(field, "gt")) is not None:
        low = above + step
    if high is None and (below := _bound(field, "lt")) is not None:
        high = below - step
    if "slider_max" in extra:
        high = float(str(extra["slider_max"]))
    if whole:
        return low, high, max(1, round(step))
    return low, high, step


def _bound(field: FieldInfo, kind: str) -> float | None:
    return next((float(getattr(part, kind)) for part in field.metadata if hasattr(part, kind)), None)


class ChainPanel:
    """Widgets of a sampler chain: the order of its samplers, and a widget for every option of each.

    `place` puts the options it names where it is called, `place_rest` everything else. Only the options of samplers
    that are in the chain are shown. It has the samplers that are `offered` and takes no others. The ids of its elements
    begin with `prefix`.
    """

    def __init__(self, offered: Sequence[str], *, prefix: str = "") -> None:
        self._offered = tuple(offered)
        self._prefix = prefix
        self._chosen = [sampler.name for sampler in default_chain().samplers]
        self.order = gr.Dropdown(
            [(label(name), name) for name in self._offered],
            value=self._chosen,
            multiselect=True,
            label="Sampler chain",
            info="Applied from left to right. To move one, remove it and add it again.",
            elem_id=f"{prefix}chain",
            render=False,
        )
        self.meaning = gr.Markdown(_meaning(self._chosen), elem_classes="note", render=False)
        self._options: dict[str, tuple[str, Component]] = {}  # option -> its sampler and widget

    def place(self, *options: str) -> None:
        """Lay out the widgets of these options here."""
        for sampler, option, field in self._all_options():
            if option in options:
                self._add(sampler, option, field)

    def place_rest(self) -> None:
        """Lay out the order of the chain and all options that have no place yet."""
        self.order.render()
        self.meaning.render()
        for sampler, option, field in self._all_options():
            if option not in self._options:
                self._add(sampler, option, field)
        self.order.change(
            self._show_options,
            self.order,
            [self.meaning, *(component for _, component in self._options.values())],
            **QUIETLY,
        )

    def _all_options(self) -> Iterator[tuple[str, str, FieldInfo]]:
        """Yield (sampler, option, field) of every sampler that is offered."""
        for name in self._offered:
            cls: type[Options] = get(name)
            for option, field in cls.model_fields.items():
                yield name, option, field

    def _add(self, sampler: str, option: str, field: FieldInfo) -> None:
        component = widget(option, field)
        component.visible = sampler in self._chosen
        component.elem_id = self._prefix + option.replace("_", "-")
        self._options[option] = (sampler, component)

    def _show_options(self, order: list[str]) -> list[object]:
        order = [name for name in order if name in self._offered]
        return [_meaning(order), *(gr.update(visible=sampler in order) for sampler, _ in self._options.values())]

    @property
    def components(self) -> list[Component]:
        """Widgets of the panel, in a fixed order: the chain's order first."""
        return [self.order, *(component for _, component in self._options.values())]

    def chain(self, values: Values) -> Chain:
        """Return the chain that the widgets show; ValueError as `Chain.from_data`."""
        order = values[self.order]
        links: list[dict[str, object]] = [{"name": name} for name in order] if isinstance(order, list) else []
        if unknown := next((link["name"] for link in links if link["name"] not in self._offered), None):
            raise ValueError(f"there is no sampler {unknown!r:.60}; the samplers are: {', '.join(self._offered)}")
        for option, (sampler, component) in self._options.items():
            for link in links:
                if link["name"] == sampler:
                    link[option] = values[component]
        return Chain.from_data(links)

    def show(self, chain: Chain) -> Updates:
        """Return updates that make the widgets show `chain`; options of samplers outside it keep their values."""
        links = {sampler.name: sampler for sampler in chain.samplers}
        updates: Updates = {self.order: gr.update(value=list(links))}
        for option, (sampler, component) in self._options.items():
            value = {"value": getattr(links[sampler], option)} if sampler in links else {}
            updates[component] = gr.update(visible=sampler in links, **value)
        return updates

    def remembered(self, values: Values) -> dict[str, object]:
        """Return the values of the widgets as JSON values, by option, so that they stay valid with a new sampler."""
        options = {option: values[component] for option, (_, component) in self._options.items()}
        return {"order": values[self.order], "options": options}

    def restored(self, kept: object) -> Updates:
        """Return updates that make the widgets show saved values, for the samplers that still exist."""
        if not isinstance(kept, dict):
            return {}
        order, options = kept.get("order"), kept.get("options")
        if not isinstance(order, list) or not isinstance(options, dict):
            return {}
        order = list(dict.fromkeys(name for name in order if isinstance(name, str) and name in self._offered))
        updates: Updates = {self.order: gr.update(value=order)}
        for option, (sampler, component) in self._options.items():
            value = {"value": options[option]} if option in options and _suits(sampler, option, options[option]) else {}
            updates[component] = gr.update(visible=sampler in order, **value)
        return updates


def _suits(sampler: str, option: str, value: object) -> bool:
    """Return whether a saved value is valid for an option, and of the type that its widget shows."""
    if get(sampler).model_fields[option].annotation in (int, float) and not is_number(value):
        return False
    try:
        return bool(getattr(build(sampler, **{option: value}), option) == value)
    except ValueError:
        return False


def _meaning(order: list[str]) -> str:
    """Return Markdown with the summary of each sampler of a chain."""
    lines = (f"**{label(name)}:** {markdown_text(get(name).summary())}" for name in order)
    return "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))
