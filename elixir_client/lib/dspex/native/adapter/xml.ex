defmodule DSPex.Native.Adapter.XML do
  @moduledoc """
  DSPy's `XMLAdapter`: each field in a tag of its name, nested types as nested tags.

      iex> signature = DSPex.Signature.parse!("question -> answers: list[int]")
      iex> DSPex.Native.Adapter.XML.parse(signature, "<answers><item>1</item><item>2</item></answers>")
      {:ok, %{"answers" => [1, 2]}}
  """

  @behaviour DSPex.Native.Adapter.Prompt

  alias DSPex.Native.Adapter.Fields
  alias DSPex.Native.Adapter.JsonText
  alias DSPex.Native.Adapter.Outputs
  alias DSPex.Native.Adapter.ParseError
  alias DSPex.Native.Adapter.ParseValue
  alias DSPex.Native.Adapter.Prompt
  alias DSPex.Native.Adapter.Validate
  alias DSPex.Native.Adapter.XmlReader
  alias DSPex.Native.Adapter.XmlValues
  alias DSPex.Native.Python
  alias DSPex.Signature
  alias DSPex.Signature.Field

  @intro "All interactions will be structured in the following way, with the appropriate values filled in."

  @doc "As `DSPex.Native.Adapter.Chat.format/3`."
  @spec format(Signature.t(), [map], map | keyword) :: [Prompt.message()]
  def format(signature, demos, inputs) do
    __MODULE__ |> Prompt.messages(signature, Enum.map(demos, &Prompt.pairs/1), Prompt.pairs(inputs)) |> Prompt.plain()
  end

  @doc "As `DSPex.Native.Adapter.Chat.parse/2`."
  @spec parse(Signature.t(), String.t()) :: {:ok, map} | {:error, ParseError.t()}
  def parse(signature, completion), do: signature |> values(completion) |> Outputs.plain()

  @doc "As `parse/2`, but in order, and with the terms of `DSPex.Native.Python`."
  @spec values(Signature.t(), String.t()) :: {:ok, [{String.t(), Python.value()}]} | {:error, ParseError.t()}
  def values(signature, completion) do
    with :ok <- Outputs.text(:xml, signature, completion),
         {:ok, elements} <- XmlReader.read(completion) do
      read(signature, XmlValues.group(elements), completion)
    else
      :error -> {:error, ParseError.new(:xml, :xml_syntax, signature, completion)}
      {:error, error} -> {:error, error}
    end
  end

  defp read(signature, groups, completion) do
    found =
      for %Field{name: name} = field <- signature.outputs,
          {_name, elements} <- [List.keyfind(groups, name, 0)],
          do: {field, elements}

    found
    |> Enum.reduce_while([], fn {field, elements}, done ->
      case value(field, elements) do
        {:ok, value} -> {:cont, [{field.name, value} | done]}
        other -> {:halt, {field.name, other}}
      end
    end)
    |> case do
      values when is_list(values) ->
        Outputs.complete(signature, :xml, completion, values)

      {_name, :unsure} ->
        {:error, ParseError.new(:xml, :needs_python, signature, completion)}

      {name, {:error, problems}} ->
        {:error, ParseError.new(:xml, :field_value, signature, completion, field: name, problems: problems)}
    end
  end

  # The type's own schema first, then each member of a union: the first that reads wins.
  defp value(%Field{type: type}, elements) do
    {schema, defs} = XmlValues.schema(type)

    Enum.reduce_while([schema | XmlValues.member(schema, "anyOf", [])], nil, fn candidate, _last ->
      case elements |> XmlValues.value(candidate, defs) |> parsed(type) do
        {:error, problems} -> {:cont, {:error, problems}}
        found -> {:halt, found}
      end
    end)
  end

  # What doesn't fit as JSON or a literal may fit as it stands.
  defp parsed(value, type) do
    with {:error, problems} <- ParseValue.parse(value, type),
         {:error, _problems} <-
           if(match?({:enum, _definition}, type), do: {:error, []}, else: Validate.value(value, type)) do
      {:error, problems}
    end
  end

  @impl Prompt
  def native_tools?, do: false

  @impl Prompt
  def structure(signature) do
    Enum.join([@intro, structures(signature.inputs), structures(signature.outputs)], "\n\n")
  end

  defp structures(fields), do: Enum.map_join(fields, "\n\n", &structure_of/1)

  defp structure_of(%Field{role: :output, name: name, type: type} = field) do
    if XmlValues.nested?(type), do: XmlValues.outline(name, type), else: tagged(field, Fields.placeholder(field))
  end

  defp structure_of(field), do: tagged(field, Fields.placeholder(field))

  @impl Prompt
  def user(signature, values, prefix, request?) do
    given =
      for(field <- signature.inputs, {_name, value} <- [List.keyfind(values, field.name, 0)], do: field(field, value))
      |> Enum.join("\n\n")
      |> Python.strip()

    requirements = if request?, do: [requirements(signature)], else: []
    Python.strip(Enum.join([prefix, given] ++ requirements ++ [""], "\n\n"))
  end

  defp requirements(signature) do
    names = Enum.map_join(signature.outputs, ", then ", &"`<#{&1.name}>`")

    nested =
      for %Field{name: name, type: type} <- signature.outputs,
          XmlValues.nested?(type),
          do: XmlValues.outline(name, type)

    more = if nested == [], do: "", else: " Use this nested XML structure: #{Enum.join(nested, " ")}"
    "Respond with the corresponding output fields wrapped in XML tags #{names}.#{more}"
  end

  @impl Prompt
  def assistant(signature, values, missing) do
    signature.outputs |> Enum.map_join("\n\n", &field(&1, Map.get(values, &1.name, missing))) |> Python.strip()
  end

  defp field(%Field{role: role, type: type, name: name} = field, value) do
    jsonable = JsonText.jsonable(value)

    if role == :output and container?(jsonable) and XmlValues.nested?(type),
      do: XmlValues.write(jsonable, name, nil),
      else: tagged(field, Fields.format(field, value))
  end

  defp container?(value), do: is_list(value) or is_tuple(value)

  defp tagged(%Field{role: :output, type: :str, name: name}, text),
    do: "<#{name}>\n#{text |> String.replace("&", "&amp;") |> String.replace("<", "&lt;")}\n</#{name}>"

  defp tagged(%Field{name: name}, text), do: "<#{name}>\n#{text}\n</#{name}>"
end
