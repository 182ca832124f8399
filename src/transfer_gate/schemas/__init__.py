"""JSON Schemas and AsyncAPI, generated from the types and headers of `records`: nothing that runs uses them."""
