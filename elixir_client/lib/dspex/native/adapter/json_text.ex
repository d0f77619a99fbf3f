defmodule DSPex.Native.Adapter.JsonText do
  @moduledoc false
  # Python's json.dumps, and what pydantic makes of values that JSON lacks.

  alias DSPex.Native.Python

  @start "<<CUSTOM-TYPE-START-IDENTIFIER>>"
  @stop "<<CUSTOM-TYPE-END-IDENTIFIER>>"

  @doc "The value as pydantic writes it for JSON: only texts, numbers, booleans, `nil`, lists and `{pairs}` are left."
  @spec jsonable(Python.value()) :: Python.value()
  def jsonable(list) when is_list(list), do: Enum.map(list, &inner/1)
  def jsonable({pairs}) when is_list(pairs), do: {Enum.map(pairs, fn {key, value} -> {key, inner(value)} end)}
  def jsonable({kind, items}) when kind in [:tuple, :set], do: Enum.map(items, &inner/1)
  def jsonable({:bytes, bytes}), do: if(String.valid?(bytes), do: bytes, else: Python.str({:bytes, bytes}))
  def jsonable({:datetime, text}), do: String.replace(text, ~r/\+00:00\z/, "Z")
  def jsonable({kind, text}) when kind in [:date, :time, :timedelta, :decimal, :uuid], do: text
  def jsonable({:enum, _name, _member, value}), do: value
  def jsonable({:model, _name, pairs}), do: jsonable({pairs})
  def jsonable({:dspy, name, pairs}), do: own_type(name, Map.new(pairs), pairs)
  def jsonable(value), do: value

  # JSON has no NaN: inside of containers pydantic writes null for it, alone it stays.
  defp inner(value) when value in [:nan, :infinity, :neg_infinity], do: nil
  defp inner(value), do: jsonable(value)

  # DSPy marks content parts inside the text, and expands the marks in the finished message.
  defp own_type("Image", %{"url" => url}, _pairs),
    do: mark([{[{"type", "image_url"}, {"image_url", {[{"url", url}]}}]}])

  defp own_type("Audio", %{"data" => data} = audio, _pairs) do
    content = {[{"data", data}, {"format", audio["audio_format"]}]}
    mark([{[{"type", "input_audio"}, {"input_audio", content}]}])
  end

  defp own_type("File", _file, pairs) do
    file = for name <- ~w(file_data file_id filename), {^name, value} when value != nil <- pairs, do: {name, value}
    mark([{[{"type", "file"}, {"file", {file}}]}])
  end

  defp own_type("Tool", tool, _pairs) do
    desc =
      if tool["desc"] in [nil, ""],
        do: ".",
        else: String.replace(", whose description is <desc>#{tool["desc"]}</desc>.", "\n", "  ")

    "#{tool["name"]}#{desc} It takes arguments #{Python.str(tool["args"])}."
  end

  defp own_type("ToolCalls", %{"tool_calls" => calls} = value, _pairs) do
    results =
      if value["tool_call_results"] == nil, do: [], else: [{"tool_call_results", jsonable(value["tool_call_results"])}]

    {[{"tool_calls", Enum.map(calls, &call/1)} | results]}
  end

  defp own_type("ToolCall", _call, pairs), do: call({pairs})
  defp own_type("Code", %{"code" => code}, _pairs), do: code
  defp own_type("Reasoning", %{"content" => content}, _pairs), do: content
  defp own_type(_name, _value, pairs), do: jsonable({pairs})

  defp call({:dspy, _name, pairs}), do: call({pairs})
  defp call({pairs}), do: {for(name <- ["name", "args"], {^name, value} <- pairs, do: {name, jsonable(value)})}

  defp mark(blocks), do: @start <> dumps(blocks) <> @stop

  @doc "The marks around content parts."
  @spec marks() :: {String.t(), String.t()}
  def marks, do: {@start, @stop}

  @doc """
  Python's `json.dumps(value, ensure_ascii=False)`.

      iex> DSPex.Native.Adapter.JsonText.dumps({[{"a", [1, 2.0, nil]}]})
      ~S({"a": [1, 2.0, null]})
  """
  @spec dumps(Python.value()) :: String.t()
  def dumps(value), do: value |> write() |> IO.iodata_to_binary()

  defp write([]), do: "[]"
  defp write(list) when is_list(list), do: [?[, list |> Enum.map(&write/1) |> Enum.intersperse(", "), ?]]
  defp write({pairs}) when is_list(pairs), do: [?{, pairs |> Enum.map(&pair/1) |> Enum.intersperse(", "), ?}]
  defp write(scalar), do: scalar(scalar)

  defp pair({key, value}), do: [scalar_key(key), ": ", write(value)]

  @doc "Python's `json.dumps(value, indent=2, ensure_ascii=False)`."
  @spec dumps_indented(Python.value()) :: String.t()
  def dumps_indented(value), do: value |> indented("\n") |> IO.iodata_to_binary()

  defp indented([], _line), do: "[]"
  defp indented({[]}, _line), do: "{}"

  defp indented(list, line) when is_list(list) do
    inner = line <> "  "
    [?[, inner, list |> Enum.map(&indented(&1, inner)) |> Enum.intersperse([?,, inner]), line, ?]]
  end

  defp indented({pairs}, line) when is_list(pairs) do
    inner = line <> "  "
    members = Enum.map(pairs, fn {key, value} -> [scalar_key(key), ": ", indented(value, inner)] end)
    [?{, inner, Enum.intersperse(members, [?,, inner]), line, ?}]
  end

  defp indented(scalar, _line), do: scalar(scalar)

  defp scalar_key(key) when is_binary(key), do: scalar(key)
  defp scalar_key(key), do: [?", scalar(key), ?"]

  defp scalar(nil), do: "null"
  defp scalar(true), do: "true"
  defp scalar(false), do: "false"
  defp scalar(:nan), do: "NaN"
  defp scalar(:infinity), do: "Infinity"
  defp scalar(:neg_infinity), do: "-Infinity"
  defp scalar(text) when is_binary(text), do: [?", escape(text, text, 0, []), ?"]
  defp scalar(number), do: Python.str(number)

  # Runs of plain characters are taken whole.
  defp escape(<<char, rest::binary>>, run, length, done) when char in [?", ?\\] or char < 0x20,
    do: escape(rest, rest, 0, [done, binary_part(run, 0, length) | [code(char)]])

  defp escape(<<_char, rest::binary>>, run, length, done), do: escape(rest, run, length + 1, done)
  defp escape("", run, length, done), do: [done | binary_part(run, 0, length)]

  defp code(?"), do: "\\\""
  defp code(?\\), do: "\\\\"
  defp code(?\n), do: "\\n"
  defp code(?\r), do: "\\r"
  defp code(?\t), do: "\\t"
  defp code(?\b), do: "\\b"
  defp code(?\f), do: "\\f"
  defp code(char), do: ["\\u00", char |> Integer.to_string(16) |> String.downcase() |> String.pad_leading(2, "0")]
end
