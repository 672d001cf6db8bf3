module tidewheel.invalid/clients/harness

go 1.25.0
