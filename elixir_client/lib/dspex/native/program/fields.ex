defmodule DSPex.Native.Program.Fields do
  @moduledoc """
  Tells the output fields apart while an answer comes, and hands their text on at once.

  What could be the start of a marker or of a closing tag, and white space that the adapter would strip before one, is held
  back until the next piece shows what it is.
  """

  alias DSPex.Native.Program.JsonFields
  alias DSPex.Native.Program.XmlFields
  alias DSPex.Signature

  # A marker stands at the start of a line; the text that follows it on the line belongs to the field.
  @marker ~r/(?:\A|\n)[ \t]*\[\[ ## (\w+) ## \]\][ \t]*\n?/
  @maybe ~r/(?:\A|\n)[ \t]*(?:\[(?:\[(?: (?:#(?:#(?: (?:\w*(?: (?:#(?:#(?: (?:\]\]?)?)?)?)?)?)?)?)?)?)?)?)?\z/

  @opaque t :: {:ets.tid(), [String.t()], (map -> term)} | {module, :ets.tid(), [String.t()], (map -> term)}

  @doc "Starts for one answer. `on_token` is a function of `%{field: name, text: text, last?: boolean}`."
  @spec start(:chat | :json | :xml, Signature.t(), (map -> term)) :: t
  def start(:chat, signature, on_token) do
    table = :ets.new(__MODULE__, [:private])
    :ets.insert(table, {:state, nil, "", []})
    {table, names(signature), on_token}
  end

  def start(:json, signature, on_token), do: start(JsonFields, JsonFields.new(), names(signature), on_token)

  def start(:xml, signature, on_token),
    do: start(XmlFields, signature |> names() |> XmlFields.new(), names(signature), on_token)

  defp start(module, state, names, on_token) do
    table = :ets.new(__MODULE__, [:private])
    :ets.insert(table, {:state, state, []})
    {module, table, names, on_token}
  end

  @doc "Takes a piece of the answer."
  @spec feed(t, String.t()) :: :ok
  def feed({module, table, names, on_token}, text) do
    [{:state, state, done}] = :ets.lookup(table, :state)
    {tokens, state} = module.feed(state, text)
    :ets.insert(table, {:state, state, hand_on(tokens, done, names, on_token)})
    :ok
  end

  def feed({table, names, on_token}, text) do
    [{:state, field, buffer, done}] = :ets.lookup(table, :state)
    {field, buffer, done} = advance(field, buffer <> text, done, false, names, on_token)
    :ets.insert(table, {:state, field, buffer, done})
    :ok
  end

  @doc "Ends the answer: what was held back is handed on, and each field gets its last token."
  @spec finish(t, map) :: :ok
  def finish({module, table, names, on_token}, outputs) do
    [{:state, state, done}] = :ets.lookup(table, :state)
    :ets.delete(table)
    done = state |> module.finish() |> hand_on(done, names, on_token)
    for name <- names -- done, do: on_token.(%{field: name, text: text(outputs[name]), last?: true})
    :ok
  end

  def finish({table, names, on_token}, outputs) do
    [{:state, field, buffer, done}] = :ets.lookup(table, :state)
    :ets.delete(table)
    {field, buffer, done} = advance(field, buffer, done, true, names, on_token)
    done = close(field, buffer, done, names, on_token)
    # A field that did not stream (it came from the second request) is handed on whole.
    for name <- names -- done, do: on_token.(%{field: name, text: text(outputs[name]), last?: true})
    :ok
  end

  @doc "Ends without an answer: what was held back is forgotten."
  @spec drop(t) :: :ok
  def drop({_module, table, _names, _on_token}), do: delete(table)
  def drop({table, _names, _on_token}), do: delete(table)

  defp delete(table) do
    :ets.delete(table)
    :ok
  end

  # The first of two members with one name counts.
  defp hand_on(tokens, done, names, on_token) do
    Enum.reduce(tokens, done, fn {name, text, last?}, done ->
      if name in names and name not in done, do: on_token.(%{field: name, text: text, last?: last?})
      if last?, do: [name | done], else: done
    end)
  end

  defp advance(field, text, done, end?, names, on_token) do
    case Regex.run(@marker, text, return: :index) do
      # The marker's line may go on in the next piece.
      [{at, size}, {name_at, name_size}] when end? or at + size < byte_size(text) ->
        done = close(field, binary_part(text, 0, at), done, names, on_token)
        rest = binary_part(text, at + size, byte_size(text) - at - size)
        advance(binary_part(text, name_at, name_size), rest, done, end?, names, on_token)

      _no_marker when end? ->
        {field, text, done}

      _no_marker ->
        {ready, held} = hold_back(text)
        emit(field, ready, false, done, names, on_token)
        {field, held, done}
    end
  end

  defp hold_back(text) do
    case Regex.run(@marker, text, return: :index) || Regex.run(@maybe, text, return: :index) do
      [{at, _size} | _name] -> split(text, at)
      nil -> split(text, byte_size(String.trim_trailing(text)))
    end
  end

  defp split(text, at) do
    ready = text |> binary_part(0, at) |> String.trim_trailing()
    size = byte_size(ready)
    {ready, binary_part(text, size, byte_size(text) - size)}
  end

  defp close(field, text, done, names, on_token) do
    emit(field, String.trim_trailing(text), true, done, names, on_token)
    if field, do: [field | done], else: done
  end

  defp emit(field, text, last?, done, names, on_token) do
    wanted? = field in names and field not in done and (last? or text != "")
    if wanted?, do: on_token.(%{field: field, text: text, last?: last?})
    :ok
  end

  defp names(signature), do: Enum.map(signature.outputs, & &1.name)

  defp text(value) when is_binary(value), do: value

  defp text(value) do
    case DSPex.Wire.Json.encode(value) do
      {:ok, json, _parts} -> IO.iodata_to_binary(json)
      {:error, _error} -> inspect(value)
    end
  end
end
