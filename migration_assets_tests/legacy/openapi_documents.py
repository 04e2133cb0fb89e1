"""OpenAPI documents in the shape of vendors', written for the tests: none is a vendor's own.

Belongs here: three whole documents, and the small parts from which a test makes one of its own.
Does not belong here: servers of that shape (the tests have them).
"""

from typing import Any

import yaml

Json = dict[str, Any]


def query(name: str, kind: str = "string", **said: Any) -> Json:
    """A parameter of a query, as OpenAPI 3 writes it."""
    required = {"required": True} if said.pop("must", False) else {}
    return {"name": name, "in": "query", **required, "schema": {"type": kind, **said}}


def answering(schema: Json, *parameters: Json, **said: Any) -> Json:
    """A path with a GET that answers with a schema."""
    content = {"application/json": {"schema": schema}}
    return {
        "get": {"parameters": [*parameters], "responses": {"200": {"content": content}}, **said}
    }


def rows_of(name: str, **around: Json) -> Json:
    """The schema of an answer with rows under ``results`` and what stands around them."""
    items = {"$ref": f"#/components/schemas/{name}"}
    return {
        "type": "object",
        "properties": {"results": {"type": "array", "items": items}, **around},
    }


def document(paths: Json, schemas: Json | None = None, **said: Any) -> Json:
    """An OpenAPI 3 document of these paths."""
    return {
        "openapi": "3.0.3",
        "info": {"title": "Clinic", "version": "1"},
        "servers": [{"url": "https://api.example.org/v1"}],
        "paths": paths,
        "components": {"schemas": schemas or {"Row": ROW}},
        **said,
    }


TIME: Json = {"type": "string", "format": "date-time"}
ROW: Json = {"type": "object", "properties": {"id": {"type": "integer"}, "updated_at": TIME}}
NUMBER: Json = {"type": "integer"}
ADDRESS: Json = {"type": "string", "format": "uri", "nullable": True}
DRF_PAGE: Json = {"count": NUMBER, "next": ADDRESS, "previous": ADDRESS}


def like_elation(url: str) -> Json:
    """A cursor by which the server keeps the place, addresses of next pages, OAuth2."""
    bounds = [query(f"last_modified__{op}", format="date-time") for op in ("gt", "gte", "lt")]
    paging = [query("limit", "integer", maximum=100, default=25), query("cursor")]
    flow = {"tokenUrl": f"{url}/oauth2/token/", "scopes": {}}
    dated = {**ROW["properties"], "last_modified": TIME, "deleted_date": {**TIME, "nullable": True}}
    dated.pop("updated_at")
    paths = {
        "/patients/": answering({"$ref": "#/components/schemas/PatientPage"}, *bounds, *paging),
        "/patients/{id}/": answering({"$ref": "#/components/schemas/Patient"}),
        "/physicians/": answering(rows_of("Physician", next=ADDRESS, previous=ADDRESS), *paging),
        "/me/": answering({"type": "object", "properties": {"name": {"type": "string"}}}),
    }
    schemas = {
        "Patient": {"allOf": [{"$ref": "#/components/schemas/Dated"}, {"type": "object"}]},
        "Dated": {"type": "object", "properties": dated},
        "Physician": {"type": "object", "properties": {"id": NUMBER, "npi": {"type": "string"}}},
        "PatientPage": rows_of("Patient", next=ADDRESS, previous=ADDRESS),
    }
    scheme = {"type": "oauth2", "flows": {"clientCredentials": flow}}
    whole = document(paths, schemas, servers=[{"url": url}], security=[{"OAuth2": []}])
    whole["info"]["title"] = "Elation"
    whole["components"]["securitySchemes"] = {"OAuth2": scheme}
    return whole


DRF = """
openapi: 3.0.3
info: {title: Care API, version: 2.1.0}
servers: [{url: "URL/api/v1"}]
security: [{tokenAuth: []}, {basicAuth: []}]
paths:
  /patient/:
    get:
      operationId: patient_list
      parameters:
      - {in: query, name: limit, required: false, schema: {type: integer}}
      - {in: query, name: offset, required: false, schema: {type: integer}}
      - {in: query, name: modified_date__gte, schema: {type: string, format: date-time}}
      - {in: query, name: modified_date__lt, schema: {type: string, format: date-time}}
      - {in: query, name: ordering, schema: {type: string, enum: [id, -id, modified_date]}}
      responses:
        200:
          content: {application/json: {schema: {$ref: '#/components/schemas/PaginatedPatient'}}}
  /patient/{id}/:
    get:
      parameters: [{in: path, name: id, required: true, schema: {type: string, format: uuid}}]
      responses:
        200: {content: {application/json: {schema: {$ref: '#/components/schemas/PatientDetail'}}}}
  /patient/{patient_id}/notes/:
    get:
      parameters:
      - {in: path, name: patient_id, required: true, schema: {type: string, format: uuid}}
      - {in: query, name: cursor, schema: {type: string}}
      responses:
        200: {content: {application/json: {schema: {$ref: '#/components/schemas/PaginatedNote'}}}}
components:
  securitySchemes:
    tokenAuth: {type: apiKey, in: header, name: Authorization}
    basicAuth: {type: http, scheme: basic}
  schemas:
    PaginatedPatient:
      type: object
      required: [count, results]
      properties:
        count: {type: integer, example: 123}
        next: &link {type: string, nullable: true, format: uri, example: 'http://x/?offset=400'}
        previous: *link
        results: {type: array, items: {$ref: '#/components/schemas/Patient'}}
    PaginatedNote:
      type: object
      properties:
        next: *link
        previous: *link
        results: {type: array, items: {$ref: '#/components/schemas/Note'}}
    Patient:
      type: object
      required: [id, modified_date]
      properties:
        id: {type: string, format: uuid, readOnly: true}
        name: {type: string, example: Zebulon-Canary}
        modified_date: {type: string, format: date-time, readOnly: true}
    PatientDetail:
      allOf:
      - $ref: '#/components/schemas/Patient'
      - {type: object, properties: {address: {type: string}, phones: {type: array, items: {}}}}
    Note:
      type: object
      properties:
        id: {type: integer}
        patient: {$ref: '#/components/schemas/Patient'}
        note: {type: string}
"""

OPENEMR = """
swagger: '2.0'
info: {title: OpenEMR API, version: v1}
host: HOST
basePath: /apis/default/api
schemes: [http]
securityDefinitions:
  key: {type: apiKey, in: query, name: api_key}
security: [{key: []}]
paths:
  /patient:
    get:
      parameters:
      - {name: _limit, in: query, type: integer, default: 50}
      - {name: _offset, in: query, type: integer}
      - {name: _sort, in: query, type: string}
      responses:
        '200': {description: fine, schema: {$ref: '#/definitions/patients'}}
  /patient/{puuid}:
    get:
      responses:
        '200': {description: fine, schema: {$ref: '#/definitions/patient'}}
  /patient/{puuid}/encounter:
    get:
      responses:
        '200': {description: fine, schema: {$ref: '#/definitions/encounters'}}
  /facility:
    get:
      responses: {'200': {description: fine, schema: {$ref: '#/definitions/facilities'}}}
    post: {responses: {}}
definitions:
  envelope:
    type: object
    properties:
      validationErrors: {type: array, items: {type: object}}
      internalErrors: {type: array, items: {type: object}}
  row:
    type: object
    properties: {id: {type: integer}, uuid: {type: string}, lname: {type: string}}
  patients:
    allOf:
    - $ref: '#/definitions/envelope'
    - {type: object, properties: {data: {type: array, items: {$ref: '#/definitions/row'}}}}
  patient:
    allOf:
    - $ref: '#/definitions/envelope'
    - {type: object, properties: {data: {$ref: '#/definitions/row'}}}
  encounters: {$ref: '#/definitions/patients'}
  facilities: {type: array, items: {type: object, properties: {facility_id: {type: integer}}}}
"""


def like_drf(url: str) -> bytes:
    """What drf-spectacular writes: offsets and a sort, a detail with more fields, nested notes."""
    return DRF.replace("URL", url).encode()


def like_openemr(url: str) -> bytes:
    """Swagger 2.0, several lists in one envelope, no filter by change time, keys of two kinds."""
    return OPENEMR.replace("HOST", url.removeprefix("http://")).encode()


def ten_regular_streams(url: str = "https://api.example.org/v1") -> Json:
    """A regular API: ten lists that differ in nothing but their names."""
    names = ("patients", "encounters", "observations", "problems", "allergies", "medications",
             "laboratories", "notes", "practitioners", "appointments")  # fmt: skip
    asked = [query("cursor"), query("limit", "integer", maximum=200),
             query("updated_since", format="date-time"),
             query("updated_before", format="date-time")]  # fmt: skip
    list_of_rows = answering(rows_of("Row", next=ADDRESS), *asked)
    whole = document({f"/{name}": list_of_rows for name in names}, servers=[{"url": url}])
    whole["components"]["securitySchemes"] = {"key": {"type": "apiKey", "in": "header",
                                                      "name": "X-API-Key"}}  # fmt: skip
    return whole


def as_yaml(value: Json) -> bytes:
    """A document as people write it."""
    return yaml.safe_dump(value).encode()
