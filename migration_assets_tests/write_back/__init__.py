"""Write-back, with writers on both sides: the demo clinic and the Medplum sandbox over sockets."""
