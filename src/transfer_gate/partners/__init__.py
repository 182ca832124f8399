"""What a new partner needs: its registry file, manifests, a checklist, and a kit for the partner's developers."""
