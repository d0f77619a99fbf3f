defmodule DSPex.Wire.Json do
  @moduledoc """
  JSON of protocol 1: ordered both ways, and exact.

  Reading is done by whichever library is installed: Jason, `JSON` (Elixir 1.18), `:json` (OTP 27) or `:jiffy`; without
  any of them by a reader of our own. Each is a `DSPex.Wire.Json.Library`. Writing is our own, since the libraries
  differ in what they do to `-0.0`, to the order of keys and to large integers.
  """

  alias DSPex.Wire.Json.Digits
  alias DSPex.Wire.Json.Reader
  alias DSPex.Wire.Json.Writer
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Values

  @libraries [
    DSPex.Wire.Json.Jason,
    DSPex.Wire.Json.Elixir,
    DSPex.Wire.Json.Otp,
    DSPex.Wire.Json.Jiffy,
    DSPex.Wire.Json.Plain
  ]

  @doc "All readers, the preferred one first."
  @spec libraries() :: [module]
  def libraries, do: @libraries

  @doc "The reader in use: the first that is available, found once."
  @spec library() :: module
  def library do
    case :persistent_term.get({__MODULE__, :library}, nil) do
      nil ->
        found = Enum.find(@libraries, & &1.available?())
        :persistent_term.put({__MODULE__, :library}, found)
        found

      module ->
        module
    end
  end

  @doc """
  Writes a value. Bytes above `limits.attach` come back as parts, to be sent as attachments.

      iex> {:ok, json, []} = DSPex.Wire.Json.encode(%{"b" => {1, :nan}, a: 2.0})
      iex> IO.iodata_to_binary(json)
      ~s({"a":2.0,"b":{"$type":"tuple","items":[1,{"$type":"float","value":"nan"}]}})
  """
  @spec encode(term, Limits.t()) :: {:ok, iodata, [binary]} | {:error, DSPex.Error.t()}
  defdelegate encode(term, limits \\ %Limits{}), to: Writer

  @doc "Writes the members of an object that stands at level 2 of a body (`params`, `result`), without its braces."
  @spec encode_members([{String.t(), term}], Limits.t()) :: {:ok, iodata, [binary]} | {:error, DSPex.Error.t()}
  defdelegate encode_members(pairs, limits), to: Writer

  @doc """
  Reads a value; `parts` are the attachments that it may point to, and `level` is how many levels it lies below the body's
  own map.

      iex> DSPex.Wire.Json.decode(~s({"a":[1.0,{"$type":"bytes","base64":"AAE="}]}))
      {:ok, %{"a" => [1.0, %DSPex.Bytes{data: <<0, 1>>}]}}
  """
  @spec decode(binary, Limits.t(), [binary], non_neg_integer) :: {:ok, term} | {:error, DSPex.Error.t()}
  def decode(text, limits \\ %Limits{}, parts \\ [], level \\ 0) do
    if Digits.bounded?(text), do: read(text, limits, parts, level), else: {:error, Values.error(Digits.refusal())}
  end

  defp read(text, limits, parts, level) do
    case library().decode(text) do
      {:ok, raw} ->
        Reader.value(raw, limits, parts, level)

      {:error, problem} ->
        {:error, DSPex.Error.new(:protocol_error, "the JSON cannot be read: #{String.slice(problem, 0, 200)}")}
    end
  end
end
