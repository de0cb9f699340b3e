"""tables.py DIR: Neutron's tables made from its models, since SQLite cannot run its migrations."""
import sys

import sqlalchemy
from neutron.common import config  # noqa: F401: registers what the models ask for
from neutron.db.migration.models import head

head.get_metadata().create_all(sqlalchemy.create_engine(f"sqlite:///{sys.argv[1]}/neutron/neutron.db"))
