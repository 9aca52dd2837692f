"""One run of the tiny project serves all tests of the workflow."""

import pytest
from tiny_project import Project, make_project


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Project:
    """The project before anything has run."""
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def finished(project) -> Project:
    """The project after one run of everything."""
    project.run()
    return project
