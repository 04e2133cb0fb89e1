"""A Django REST framework app in the shape of ohcnetwork/care, in one file.

Runs in the servers' own environment: settings, models, filters, views and addresses. Its database
is the SQLite file that ``CLINIC_FILE`` names. What is care's: days of Kolkata as filter, newest
first by default, limit and offset, and a soft deletion that touches no change time.
"""

import os
from typing import Any

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["CLINIC_FILE"],
            # A writer waits for its turn before it stamps a row, as a busy clinic's would.
            "OPTIONS": {"timeout": 60, "transaction_mode": "IMMEDIATE"},
        }
    },
    INSTALLED_APPS=["django_filters", "rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
    ROOT_URLCONF="drf_clinic",
    TIME_ZONE="Asia/Kolkata",
    USE_TZ=True,
)
django.setup()

# These need the settings above.
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, models  # noqa: E402
from django_filters import rest_framework as filters  # noqa: E402
from rest_framework import (  # noqa: E402
    mixins,
    pagination,
    permissions,
    routers,
    serializers,
    viewsets,
)
from rest_framework.filters import OrderingFilter  # noqa: E402


class WithToken(permissions.BasePermission):
    """Only with the token of the environment."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Compare the header."""
        return bool(request.headers.get("Authorization") == os.environ["CLINIC_TOKEN"])


class Kept(models.Model):
    """What every row has."""

    text = models.TextField()
    modified_date = models.DateTimeField(auto_now=True, db_index=True)
    deleted = models.BooleanField(default=False)

    class Meta:
        """No table of its own."""

        abstract = True


def _model(name: str) -> Any:
    meta = type("Meta", (), {"app_label": "clinic", "db_table": f"{name.lower()}s"})
    return type(name, (Kept,), {"__module__": __name__, "Meta": meta})


Patient, Consultation, Encounter = (
    _model(each) for each in ("Patient", "Consultation", "Encounter")
)


def _serializer(model: Any) -> Any:
    # A clinic's app gives out ids itself; here the writer chooses them.
    fields = {"id": serializers.IntegerField()}
    meta = type("Meta", (), {"model": model, "fields": ["id", "text", "modified_date"]})
    return type("Serializer", (serializers.ModelSerializer,), {**fields, "Meta": meta})


def _by_day(model: Any) -> Any:
    days = filters.DateFromToRangeFilter(field_name="modified_date")
    meta = type("Meta", (), {"model": model, "fields": ["modified_date"]})
    return type("ByDay", (filters.FilterSet,), {"modified_date": days, "Meta": meta})


class ByInstant(filters.FilterSet):
    """Exact times, from and before."""

    modified_after = filters.IsoDateTimeFilter(field_name="modified_date", lookup_expr="gte")
    modified_before = filters.IsoDateTimeFilter(field_name="modified_date", lookup_expr="lt")


class Offsets(pagination.LimitOffsetPagination):
    """The paging of care."""

    default_limit = 14


class Keyset(pagination.CursorPagination):
    """Rows in order of change, each page from where the last one ended."""

    page_size = 20
    ordering = "modified_date"


class View(viewsets.ModelViewSet):
    """Lists, and takes changes; ``?all`` is everything at once."""

    permission_classes = (WithToken,)
    pagination_class = Offsets
    filter_backends: tuple[Any, ...] = (filters.DjangoFilterBackend,)

    def paginate_queryset(self, queryset: Any) -> Any:
        """Leave the pages out where everything is asked for."""
        return None if "all" in self.request.query_params else super().paginate_queryset(queryset)

    def perform_destroy(self, instance: Any) -> None:
        """Delete softly: the change time stays what it was."""
        instance.deleted = True
        instance.save(update_fields=["deleted"])


class Patients(View):
    """Sorted as asked."""

    queryset = Patient.objects.filter(deleted=False).order_by("-modified_date")
    serializer_class = _serializer(Patient)
    filterset_class = _by_day(Patient)
    filter_backends = (filters.DjangoFilterBackend, OrderingFilter)
    ordering_fields = ("id",)


class Consultations(View):
    """Newest first, whatever is asked."""

    queryset = Consultation.objects.filter(deleted=False).order_by("-modified_date")
    serializer_class = _serializer(Consultation)
    filterset_class = _by_day(Consultation)


class Encounters(View):
    """Keyset pages, exact times, deletions for good."""

    queryset = Encounter.objects.all()
    serializer_class = _serializer(Encounter)
    filterset_class = ByInstant
    pagination_class = Keyset
    perform_destroy = mixins.DestroyModelMixin.perform_destroy


def _create_tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = WAL")
    with connection.schema_editor() as editor:
        for model in (Patient, Consultation, Encounter):
            editor.create_model(model)
    connection.close()


_create_tables()
_router = routers.SimpleRouter()
for _name, _view in {
    "patients": Patients,
    "consultations": Consultations,
    "encounters": Encounters,
}.items():
    _router.register(_name, _view, basename=_name)
urlpatterns = _router.urls
application = get_wsgi_application()
