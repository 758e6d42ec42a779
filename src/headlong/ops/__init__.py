"""Operations on rows: what a backend must offer, the numpy reference, the native CPU."""
