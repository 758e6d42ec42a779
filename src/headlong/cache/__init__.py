"""Memory of running sequences: KV pages, recurrent slots, who holds them."""
