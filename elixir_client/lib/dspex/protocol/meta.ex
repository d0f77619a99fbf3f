defmodule DSPex.Protocol.Meta do
  @moduledoc """
  `params._meta` of a request that a worker sends: checked before anything is done with it.
  """

  @name "1 to 256 printable characters"
  @most_name 256

  @doc """
  What is wrong with the `_meta` of a request's params, or nil. Members that are not known, and null, count as absent.

      iex> DSPex.Protocol.Meta.problem(%{"_meta" => %{"deadline_ms" => 5, "colour" => 1}})
      nil
      iex> DSPex.Protocol.Meta.problem(%{"_meta" => %{"within" => "s"}})
      "params._meta.within must be a list of session ids"
  """
  @spec problem(map) :: String.t() | nil
  def problem(%{"_meta" => meta}) when is_map(meta), do: Enum.find_value(meta, &member/1)
  def problem(%{"_meta" => meta}) when meta != nil, do: "params._meta must be a map"
  def problem(_params), do: nil

  defp member({_name, nil}), do: nil

  defp member({"deadline_ms", ms}),
    do: unless(is_integer(ms) and ms >= 0, do: wrong("deadline_ms", "an integer, 0 or more"))

  defp member({"credit", n}), do: unless(is_integer(n) and n >= 0, do: wrong("credit", "an integer, 0 or more"))
  defp member({"stream", flag}), do: unless(is_boolean(flag), do: wrong("stream", "true or false"))
  defp member({"traceparent", text}), do: unless(is_binary(text), do: wrong("traceparent", "text"))

  defp member({"within", ids}),
    do: unless(is_list(ids) and Enum.all?(ids, &name?/1), do: wrong("within", "a list of session ids"))

  defp member({name, value}) when name in ~w(session tenant idempotency_key),
    do: unless(name?(value), do: wrong(name, @name))

  defp member(_unknown), do: nil

  # Characters are not counted beyond what may be the longest name.
  defp name?(text) when is_binary(text) and text != "" and byte_size(text) <= 4 * @most_name,
    do:
      String.printable?(text) and length(String.codepoints(text)) <= @most_name and
        not String.match?(text, ~r/[\n\r\t]/)

  defp name?(_value), do: false

  defp wrong(name, wanted), do: "params._meta.#{name} must be #{wanted}"
end
