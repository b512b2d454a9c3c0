"""What needs Helm runs where there is one: `make test-helm` brings it."""

import os

from tests.deploy.rendering import HELM

collect_ignore_glob = [] if os.environ.get(HELM) else ["test_rendered_*.py"]
