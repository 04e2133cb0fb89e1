"""The law of delivering, whatever goes wrong between the account and Medplum."""
