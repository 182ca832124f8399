"""Import consents from files: a reviewed mapping makes consent events of rows, which go to `consent-events`."""
