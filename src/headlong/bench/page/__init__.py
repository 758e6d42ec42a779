"""Parts of the report page: charts as SVG, the table, published results, style and script."""
