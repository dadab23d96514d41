"""Put customer logs into a Neto (Maropost Commerce Cloud) store, and know what became of each one."""
