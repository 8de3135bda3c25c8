-- One span with its content.
SELECT
    name, kind, tool_arguments, tool_result, system_instructions, input_messages, output_messages,
    tool_definitions, status_message, scope_name, scope_version, service, service_version, conversation_id,
    user_id, attributes, resource_attributes
FROM spans
WHERE trace_id = {trace_id:String} AND span_id = {span_id:String}
LIMIT 1
