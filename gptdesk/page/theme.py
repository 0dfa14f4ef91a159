"""Theme of the page: colours, type scale, radii and spacing, light and dark."""

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

# Gradio's own file of the semibold weight lacks most letters, so bold stands in for it.
FONTS = (LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")

INDIGO = gr.themes.Color(
    name="desk-indigo",
    c50="#f1f2ff",
    c100="#e3e5ff",
    c200="#cbcffd",
    c300="#a9aff8",
    c400="#8b90f2",
    c500="#5b5bd6",
    c600="#4a49bf",
    c700="#3e3da1",
    c800="#333382",
    c900="#2a2a66",
    c950="#1b1b44",
)
GREY = gr.themes.Color(
    name="desk-grey",
    c50="#f8f8fa",
    c100="#f0f0f4",
    c200="#e2e2e9",
    c300="#cccdd7",
    c400="#a3a4b3",
    c500="#626375",
    c600="#4f5062",
    c700="#37384a",
    c800="#232433",
    c900="#181924",
    c950="#0f1018",
)


def theme() -> gr.themes.Base:
    """Return the theme; text on every background has a contrast of at least 4.5."""
    return gr.themes.Default(
        primary_hue=INDIGO, secondary_hue=INDIGO, neutral_hue=GREY, font=FONTS, radius_size="lg"
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        block_background_fill_dark="*neutral_900",
        block_border_color_dark="*neutral_800",
        input_background_fill_dark="*neutral_800",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_500",
        button_primary_background_fill_hover="*primary_600",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_cancel_background_fill="#b91c1c",
        button_cancel_background_fill_hover="#991b1b",
        button_cancel_background_fill_dark="#b91c1c",
        button_cancel_background_fill_hover_dark="#991b1b",
        color_accent="*primary_500",
        slider_color="*primary_500",
        slider_color_dark="*primary_400",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="*neutral_500",
        checkbox_background_color_selected="*primary_500",
        checkbox_background_color_selected_dark="*primary_500",
        link_text_color="*primary_600",
        link_text_color_dark="*primary_300",
    )
