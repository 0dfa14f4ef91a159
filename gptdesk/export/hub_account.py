"""Account on the Hugging Face Hub, and the Spaces that its plan hosts."""

from collections.abc import Mapping
from dataclasses import dataclass

PAID = ("team", "enterprise", "plus", "academia")  # plans of organizations
FREE_GPU_SPACES = 2  # that a free account in good standing hosts on ZeroGPU


@dataclass(frozen=True)
class Account:
    """User or organization that owns a repository."""

    name: str
    is_user: bool
    pays: bool | None  # None: the Hub does not say

    def plan_for(self, sdk: str) -> str:
        """Return a sentence on hosting a new Space (static, zero or cpu); ValueError if the plan cannot do that."""
        if sdk == "static":
            return "A static Space is free on every plan."
        if self.pays:
            return f"{self.name} has a paid plan, which hosts Gradio Spaces."
        if self.pays is False and sdk == "cpu":
            raise ValueError(
                f"{self.name} has the free plan of the Hugging Face Hub, which hosts no Gradio Space on processors; "
                "use --sdk static, which is free, or --sdk zero, or a paid plan"
            )
        if self.pays is None or not self.is_user:
            return f"Gradio Spaces need a plan that hosts them; the Hub decides whether {self.name} has one."
        return (
            f"{self.name} has the free plan, which hosts up to {FREE_GPU_SPACES} Gradio Spaces on ZeroGPU, if the "
            "account is in good standing."
        )


def owner(answer: Mapping[str, object], name: str) -> Account:
    """Return the account `name` from the Hub's answer to whoami; ValueError if the token cannot write for it."""
    user = answer.get("name")
    if not isinstance(user, str):
        raise TypeError("the answer names no account")
    auth = answer.get("auth")
    token = auth.get("accessToken") if isinstance(auth, dict) else None
    if isinstance(token, dict) and token.get("role") == "read":
        raise ValueError(
            "the token of this computer may read from the Hugging Face Hub, not write; make one that may write, and "
            "sign in by `hf auth login` or set HF_TOKEN"
        )
    if name.casefold() == user.casefold():
        return Account(user, is_user=True, pays=_known(answer.get("isPro")))
    organizations = answer.get("orgs")
    for entry in organizations if isinstance(organizations, list) else ():
        organization = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(organization, str) or organization.casefold() != name.casefold():
            continue
        if entry.get("roleInOrg") == "read":
            raise ValueError(f"you may read the repositories of {organization}, not write; ask for the role to write")
        plan = entry.get("plan")
        pays = plan.casefold() in PAID if isinstance(plan, str) else None
        return Account(organization, is_user=False, pays=_known(entry.get("isEnterprise")) or pays)
    raise ValueError(
        f"the token of this computer belongs to {user[:100]!r}, which cannot write for {name}; use your own name or "
        "one of your organizations, or sign in again by `hf auth login`"
    )


def _known(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
