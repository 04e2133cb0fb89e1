# ruff: noqa: INP001 - not part of a package: Celery imports it by name from its folder
"""What a Celery worker reads, from the folder it is started in (or from PYTHONPATH).

The worker: ``celery -A dagster_celery.app worker -Q dagster -c 1``. The addresses are those that
``dagster.yaml`` gives the launcher, from the same two variables. The name of this module is
dagster-celery's choice.
"""

import os

broker_url = os.environ["CELERY_BROKER_URL"]

# A result that lasts: from it run monitoring learns that a worker's child died (rpc:// forgets).
result_backend = os.environ["CELERY_RESULT_BACKEND"]
result_expires = 7 * 24 * 3600

# The code location is imported when the worker starts, not when a run does (about two seconds).
imports = ("migration_assets.definitions",)

# A worker takes one run and no second one behind it: prefetched, that would wait for the first to
# end while other workers are idle. Redis is told so; RabbitMQ counts what is unacknowledged, so
# there the answer comes when the run has ended. A run that is then delivered again (the line broke,
# or it took longer than RabbitMQ's consumer_timeout) is not run again: Dagster ignores a second
# worker on a started run while run monitoring is on, which the shipped dagster.yaml sees to.
worker_prefetch_multiplier = 1
_redis = broker_url.startswith(("redis", "sentinel"))
worker_disable_prefetch = _redis
task_acks_late = not _redis

# A child that grew keeps its memory; a fresh one costs a fork of the warm parent.
worker_max_tasks_per_child = 100
broker_connection_retry_on_startup = True
# Dagster's log goes to its storage; the worker's own says when it took what.
worker_hijack_root_logger = False
worker_redirect_stdouts = False
