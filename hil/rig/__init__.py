"""What a rig is: boards, ports, links, power, faults, as its file says. Description only: nothing is opened here."""
