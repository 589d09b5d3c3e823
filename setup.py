"""Packaging of tfgates: what pyproject.toml says, and the links of README, absolute where the project has a place."""

import os
import pathlib
import re
import tomllib

from setuptools import setup

ROOT = pathlib.Path(__file__).parent


def absolute(text, repository):
    """A text in Markdown whose relative links and pictures lead into a repository; as it is where there is none."""
    if not repository:
        return text
    return re.sub(r"(\]\()(?!https?://|mailto:|#)", rf"\g<1>{repository.rstrip('/')}/blob/main/", text).replace(
        "/blob/main/docs/images/", "/raw/main/docs/images/"
    )


def urls(places):
    """The links of the package: those of the places that are known."""
    repository, documentation = places["repository"].rstrip("/"), places["documentation"]
    links = {"Documentation": documentation} if documentation else {}
    if repository:
        links |= {
            "Source": repository,
            "Issues": f"{repository}/issues",
            "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        }
    return links


if __name__ == "__main__":
    PLACES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["tfgates"]
    # A release knows where it is built from, before anybody has written it down.
    PLACES["repository"] = PLACES["repository"] or os.environ.get("TFGATES_REPOSITORY", "")
    README = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=absolute(README, PLACES["repository"]),
        long_description_content_type="text/markdown",
        project_urls=urls(PLACES),
    )
