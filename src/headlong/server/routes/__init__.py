"""The routes, one file per family; each makes a router over a `Service`."""
