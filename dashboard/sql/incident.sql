-- One incident as it stands.
SELECT * FROM incidents WHERE id = {id:String} LIMIT 1
