"""What several layers share: plain functions, arrays in, arrays out."""
