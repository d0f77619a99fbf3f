defmodule DSPex.Conformance.Signatures do
  # One check a case: the contract `same` wants every part of the result equal; `error` and `refuse` want an error that
  # points into the text.

  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Schema
  alias DSPex.Native.Signature.Type

  def checks(document) do
    types = types(document["types"] || [])
    for vector <- document["cases"], do: {vector["id"], fn -> check(vector, types) end}
  end

  # What the corpus calls a type, as `types:` takes it; a plain class has no JSON Schema and is not registered.
  defp types(described) do
    for {name, type} <- described, type["kind"] in ["enum", "model"], into: %{} do
      case type["kind"] do
        "enum" -> {name, {:enum, %{name: name, members: Enum.map(type["members"], &List.to_tuple/1)}}}
        "model" -> {name, {:model, %{name: name, schema: Python.from_elixir(type["json_schema"])}}}
      end
    end
  end

  defp check(vector, types) do
    options = [instructions: vector["instructions"], types: chosen(vector["custom_types"], types)]

    case {vector["contract"], DSPex.Signature.parse(vector["signature"], options)} do
      {"same", {:ok, signature}} -> same(signature, vector["result"])
      {"same", {:error, error}} -> {:error, "refused: " <> Exception.message(error)}
      {_contract, {:error, %DSPex.SignatureError{} = error}} -> points(error)
      {contract, {:ok, _signature}} -> {:error, "accepted, though the contract is #{contract}: #{vector["signature"]}"}
    end
  end

  defp chosen(nil, _types), do: %{}
  defp chosen(names, types) when is_list(names), do: Map.take(types, names)
  defp chosen(renamed, types), do: for({name, type} <- renamed, types[type], into: %{}, do: {name, types[type]})

  defp points(error) do
    if error.offset <= byte_size(error.text) and Exception.message(error) =~ "^",
      do: :ok,
      else: {:error, "no place in #{inspect(error)}"}
  end

  defp same(signature, result) do
    fields = Enum.zip(DSPex.Signature.fields(signature), result["fields"])

    [
      {"instructions", signature.instructions, result["instructions"]},
      {"inputs", Enum.map(signature.inputs, & &1.name), result["inputs"]},
      {"outputs", Enum.map(signature.outputs, & &1.name), result["outputs"]}
      | Enum.flat_map(fields, fn {field, expected} -> parts(field, expected) end)
    ]
    |> differences()
    |> and_back(signature)
  end

  defp parts(field, expected) do
    schema =
      case Schema.of(field.type) do
        {:ok, schema} -> Python.to_elixir(schema)
        :error -> nil
      end

    [
      {"name", field.name, expected["name"]},
      {"role of #{field.name}", Atom.to_string(field.role), expected["role"]},
      {"type of #{field.name}", Type.tree(field.type), DSPex.Ordered.plain(expected["type"])},
      {"name of the type of #{field.name}", Type.name(field.type), expected["annotation_name"]},
      {"prefix of #{field.name}", field.prefix, expected["prefix"]},
      {"desc of #{field.name}", field.desc, expected["desc"]},
      {"JSON Schema of #{field.name}", schema, DSPex.Ordered.plain(expected["json_schema"])},
      {"undefined type of #{field.name}", field.role == :input and not field.typed?, expected["is_type_undefined"]},
      {"placeholder of #{field.name}", placeholder(field, expected), expected["structure_placeholder"]}
    ]
  end

  # Some of DSPy's own types have none: there DSPy fails.
  defp placeholder(field, expected) do
    if expected["structure_placeholder"], do: DSPex.Native.Adapter.Fields.placeholder(field)
  end

  defp differences(parts) do
    case for {what, got, expected} <- parts,
             got !== expected,
             do: "#{what}: #{inspect(got)} is not #{inspect(expected)}" do
      [] -> :ok
      differences -> {:error, Enum.join(differences, "\n    ")}
    end
  end

  # What is written as text reads back as the same fields.
  defp and_back({:error, problem}, _signature), do: {:error, problem}

  defp and_back(:ok, signature) do
    text = DSPex.Signature.to_string(signature)
    back = DSPex.Signature.parse!(text, types: signature.types)

    if {back.inputs, back.outputs} == {signature.inputs, signature.outputs},
      do: :ok,
      else: {:error, "reads back otherwise: #{text}"}
  end
end
