"""What the Dagster web server tells anybody who may open it."""

_ERROR = "message stack className errorChain { error { message stack className } }"
_METADATA = """metadataEntries { __typename label description
  ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr }
  ... on JsonMetadataEntry { jsonString } ... on UrlMetadataEntry { url }
  ... on PathMetadataEntry { path } ... on TableMetadataEntry { table { records } }
  ... on IntMetadataEntry { intRepr } ... on FloatMetadataEntry { floatRepr } }"""
_TICK = (
    f"status skipReason cursor runKeys error {{ {_ERROR} }} logEvents {{ events {{ message }} }}"
)

QUERIES = {
    "runs": f"""{{ runsOrError {{ ... on Runs {{ results {{ runId status runConfigYaml
      tags {{ key value }}
      eventConnection(limit: 1000) {{ events {{ __typename
        ... on MessageEvent {{ message stepKey }}
        ... on ErrorEvent {{ error {{ {_ERROR} }} }}
        ... on ExecutionStepFailureEvent {{ failureMetadata {{ {_METADATA} }} }}
        ... on MaterializationEvent {{ description {_METADATA} }}
        ... on ObservationEvent {{ description {_METADATA} }}
        ... on AssetCheckEvaluationEvent {{ evaluation {{ description {_METADATA} }} }}
      }} }} }} }} }} }}""",
    "assets": f"""{{ assetNodes {{ assetKey {{ path }} description {_METADATA}
      assetMaterializations(limit: 99) {{ description {_METADATA} tags {{ key value }} }}
      assetObservations(limit: 99) {{ description {_METADATA} }}
      assetChecksOrError {{ ... on AssetChecks {{ checks {{ name description
        executionForLatestMaterialization {{ evaluation {{ description {_METADATA} }} }} }} }} }}
    }} }}""",
    "ticks": f"""{{ repositoriesOrError {{ ... on RepositoryConnection {{ nodes {{
      sensors {{ name sensorState {{ ticks(limit: 99) {{ {_TICK} }} }} }}
      schedules {{ name scheduleState {{ ticks(limit: 99) {{ {_TICK} }} }} }}
    }} }} }} }}""",
}
