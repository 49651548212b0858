"""What bad input costs everybody else (``make hostile``)."""
