CREATE ROLE synapse LOGIN PASSWORD :'synapse';
CREATE DATABASE matrix OWNER synapse;
CREATE ROLE key_vault LOGIN PASSWORD :'key_vault';
CREATE DATABASE key_vault OWNER key_vault;
